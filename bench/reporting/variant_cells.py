"""Cells and columns of tables of variants: names, parameters, seeds, further metrics."""

import math
from collections.abc import Collection
from typing import Any

import pandas as pd

from bench.analysis.formatting import format_count
from bench.records.metrics import in_section
from bench.reporting.html_table import (
    Cell,
    Column,
    format_metric,
    metric_column,
    name_column,
    registered_columns,
    value_cell,
)

MAX_UNUSED_BUDGET = 0.03  # a larger share of the budget left unused is marked


def variant_cell(row: Any) -> Cell:
    """Return a variant's label with its family and its badges."""
    flags = (
        (row.stale, "stale"),
        (row.lossy, "lossy"),
        (row.control, "A/A control"),
        (row.untuned, "UNTUNED"),
    )
    badges = tuple(badge for given, badge in flags if given)
    return Cell(row.label, row.label, str(row.family), badges=badges)


def _parameters_cell(row: Any) -> Cell:
    unused = row.budget_slack > MAX_UNUSED_BUDGET
    notes = [f"{100 * row.budget_slack:.1f} % unused"] if unused else []
    if row.parameters_active < row.parameters:  # False where an older record has no such number
        notes.append(f"{format_count(row.parameters_active)} active")
    return value_cell(row.parameters, format_count, ", ".join(notes), "bad" if unused else "")


def _seeds_cell(row: Any) -> Cell:
    missing = row.seeds < row.seeds_asked
    text = f"{row.seeds} of {row.seeds_asked}" if missing else str(row.seeds)
    return Cell(text, float(row.seeds), mark="bad" if missing else "")


VARIANT = name_column(variant_cell)
PARAMETERS = metric_column("parameters", _parameters_cell)
SEEDS = Column("seeds", "finished seeds", _seeds_cell)


def further_columns(section: str, means: pd.DataFrame, handled: Collection[str]) -> list[Column]:
    """Return columns for the metrics of a section that no column of the table shows yet.

    `means`: (rows, metrics), the mean over the finished runs of each variant.
    """

    def cell(row: Any, name: str) -> Cell:
        value = means[name].get(row.Index, math.nan)
        return value_cell(float(value), lambda number: format_metric(name, number))

    absent = {
        spec.name
        for spec in in_section(section)
        if spec.name not in means or means[spec.name].isna().all()
    }
    return list(registered_columns(section, cell, {*handled, *absent}))
