"""Synthetic sources with a known optimum: the regret of each row, per source and overall."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.comparisons import Comparison, oracle_is_certain, regret_tables
from bench.analysis.formatting import format_bytes, format_fixed, format_percent, join_words, plural
from bench.reporting.html_table import (
    EMPTY,
    Cell,
    Column,
    Table,
    build_table,
    metric_column,
    name_column,
    value_cell,
)
from bench.reporting.variant_cells import PARAMETERS, SEEDS, VARIANT, further_columns

HANDLED = {
    "regret", "accuracy", "oracle_nats_per_token", "oracle_accuracy", "left_to_right_regret"
}  # fmt: skip


def regret_note(rows: pd.DataFrame) -> str:
    """Return what regret is, and what its standard error covers."""
    windows = "windows only: seeds were not sampled, another seed may differ by more"
    over = "windows and seeds" if rows["seeds"].min() > 1 else windows
    return (
        "Regret: the model's nats per token minus the best possible, on the same tokens and given "
        f"exactly what the model saw. It cannot be below 0. ± is the standard error over {over}."
    )


def format_regret(value: float, error: float) -> str:
    """Return a regret to three places; up to five where its error is below a thousandth."""
    return format_fixed(value, 3 + (error < 0.001) + (error < 0.0001))


def regret_table(name: str, rows: pd.DataFrame, means: pd.DataFrame, folded: bool = False) -> Table:
    """Return the table of one source, the smallest regret first; `folded` below an overview."""
    best = rows.loc[~rows["control"], "regret"].min()
    columns = [
        VARIANT,
        metric_column("regret", partial(_regret_cell, best), "Below it the standard error."),
        metric_column("nats_per_token", _of("nats_per_token", lambda v: format_fixed(v, 4))),
        metric_column("accuracy", _of("accuracy", format_percent)),
        metric_column("state_bytes", _of("state_bytes", format_bytes)),
        PARAMETERS,
        SEEDS,
        *further_columns("regret", means, HANDLED),
    ]
    first = rows.iloc[0]
    caption = (
        f"Best possible: {format_fixed(first['oracle_nats_per_token'], 4)} nats per token, "
        f"accuracy {format_percent(first['oracle_accuracy'])}; {first['part']} part, "
        f"{first['protocol']}."
    )
    title = f"The {plural(len(rows), 'row')} of {first['data']}: nats per token, state, parameters"
    return build_table(
        name,
        columns,
        rows.itertuples(),
        caption=caption,
        notes=[regret_note(rows)],
        folded=title if folded else "",
    )


def _of(name: str, show: Callable[[float], str]) -> Callable[[Any], Cell]:
    return lambda row: value_cell(float(getattr(row, name)), show)


def _regret_cell(best: float, row: Any) -> Cell:
    value, error = float(row.regret), float(row.regret_standard_error)
    mark = "best" if not row.control and value == best else ""
    return Cell(format_regret(value, error), value, f"± {format_regret(error, error)}", mark)


def regret_sentences(comparison: Comparison) -> list[str]:
    """Return for each table which rows come nearest to the optimum, and how far off others are."""
    return [_nearest(table[~table["control"]]) for table in comparison.regrets]


def _nearest(rows: pd.DataFrame) -> str:
    first, last = rows.iloc[0], rows.iloc[-1]
    error = first["regret_standard_error"]
    others = _tied_labels(rows)
    more = " and others" if len(others) > 4 else ""
    parts = [
        f"Best possible: {format_fixed(first['oracle_nats_per_token'])} nats per token. Nearest: "
        f"{first['label']}, {format_regret(first['regret'], error)} ± "
        f"{format_regret(error, error)} above"
    ]
    if oracle_is_certain(rows):
        parts.append(f", accuracy {format_percent(first['accuracy'])}")
    if others:
        parts.append(f", within two standard errors of it {join_words(others[:4])}{more}")
    if len(rows) > 1:
        parts.append(f"; furthest: {last['label']}, {format_fixed(last['regret'])}")
    return "".join(parts) + "."


def _tied_labels(rows: pd.DataFrame) -> list[str]:
    """Return the other rows that are within two standard errors of the first."""
    first, errors = rows.iloc[0], rows["regret_standard_error"]
    near = rows["regret"] - first["regret"] < 2 * (errors + errors.iloc[0])
    return [str(label) for label in rows.loc[near, "label"] if label != first["label"]]


def regret_overview(comparisons: Sequence[Comparison]) -> Table | None:
    """Return a row per architecture and a column per source; None of fewer than two sources."""
    tables = regret_tables(comparisons)
    if len(tables) < 2:
        return None
    ranks = pd.concat([table.set_index("label")["regret"].rank() for _, table in tables], axis=1)
    order = ranks.fillna(len(ranks)).mean(axis=1).sort_values(kind="stable").index
    rows_of = {row.label: row for _, table in tables for row in table.itertuples()}
    columns = [
        name_column(_family_cell, "the best mean rank first"),
        *(_source_column(title, table) for title, table in tables),
    ]
    notes = [
        regret_note(pd.concat([table for _, table in tables])),
        "Where the optimum is always right, the accuracy is given below instead.",
    ]
    caption = "Regret of each architecture on each source."
    rows = [rows_of[label] for label in order]
    return build_table("known-floors", columns, rows, caption=caption, notes=notes)


def _family_cell(row: Any) -> Cell:
    return Cell(row.label, row.label, small=str(row.family))


def _source_column(title: str, table: pd.DataFrame) -> Column:
    by_label = {row.label: row for row in table.itertuples()}
    best, certain = table["regret"].min(), oracle_is_certain(table)

    def cell(named: Any) -> Cell:
        row: Any = by_label.get(named.label)
        if row is None:
            return EMPTY
        shown = _regret_cell(best, row)
        small = f"accuracy {format_percent(row.accuracy)}" if certain else shown.small
        return replace(shown, small=small)

    return Column(title, "regret, nats per token", cell)
