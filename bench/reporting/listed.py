"""Columns that static/tables.yaml lists: title, tooltip, what the cells show and how."""

from collections.abc import Callable
from typing import Any

import yaml

from bench.analysis import formatting as fmt
from bench.reporting.html_table import EMPTY, Cell, Column, text_cell, value_cell
from bench.reporting.section import HERE

LISTS = yaml.safe_load((HERE / "static" / "tables.yaml").read_text(encoding="utf-8"))
SHOWS: dict[str, Callable[[float], str]] = {
    "fixed": fmt.format_fixed, "number": fmt.format_number, "percent": fmt.format_percent,
    "count": fmt.format_count, "large": fmt.format_large, "plain": str,
    "trials": "{:,.0f}".format, "rate": "{:.3g}".format,
    "p": lambda p: "<0.001" if p < 0.001 else fmt.format_fixed(p),
}  # fmt: skip


def listed_columns(table: str, **cells: Callable[[Any], Any]) -> list[Column]:
    """Return the columns of a table.

    `cells`: by the name that a column has there, what makes a cell or a text of a row; other
    columns show the row's number, or text, of that name.
    """
    return [_column(title, *about, own=cells) for title, about in LISTS[table].items()]


def _column(
    title: str, help: str, name: str, show: str = "fixed", better: str = "", *, own: Any
) -> Column:
    make = own.get(name, lambda row: getattr(row, name))

    def cell(row: Any) -> Cell:
        value = make(row)
        if isinstance(value, Cell):
            return value
        if isinstance(value, str):
            return text_cell(value) if value else EMPTY
        return value_cell(value, SHOWS[show])

    return Column(title, help, cell, metric=name, better=better)
