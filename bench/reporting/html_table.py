"""The one table type of the page: columns that turn a row into a cell, and the cells.

A metric's heading and tooltip come from the registry (`bench.records.metrics`).
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.analysis.formatting import (
    NO_VALUE,
    format_bytes,
    format_count,
    format_fixed,
    format_joules,
    format_large,
    format_number,
    format_percent,
    format_seconds,
    join_words,
)
from bench.analysis.sessions import NOT_MEASURED
from bench.records.metrics import describe, in_section

Show = Callable[[float], str]
FORMATS: dict[str, Show] = {  # by the first word of a unit
    "bytes": format_bytes,
    "s": format_seconds,
    "tokens/s": format_large,
    "FLOPs": format_large,
    "FLOP": format_large,
    "share": format_percent,
    "bits": format_fixed,
    "nats": format_fixed,
    "J": format_joules,
    "parameters": format_count,
    "tokens": format_count,
    "sequences": format_count,
    "operators": format_count,
}


@dataclass(frozen=True)
class Cell:
    """A cell. `value` is what the column is sorted by; None is sorted last."""

    text: str
    value: float | str | None = None
    small: str = ""  # a second line
    mark: str = ""  # the CSS class: best, bad or words
    reason: str = ""  # why there is no number
    badges: tuple[str, ...] = ()
    key: str = ""  # of a first cell: the key of its row, for the page's script
    swatch: str = ""  # of a first cell: the CSS class of its row's colour


EMPTY = Cell(NO_VALUE)


@dataclass(frozen=True)
class Column:
    """A column: its heading, its tooltip, and how a row becomes a cell."""

    title: str
    help: str
    cell: Callable[[Any], Cell]
    group: str = ""  # columns of a group are shown or hidden together
    metric: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page. With `folded` it is collapsed under that heading."""

    name: str
    columns: list[Column]
    rows: list[list[Cell]]
    caption: str = ""
    notes: list[str] = field(default_factory=list)
    heading: str = ""
    folded: str = ""

    @property
    def titles(self) -> list[str]:
        """Return the headings of the columns."""
        return [column.title for column in self.columns]


def build_table(
    name: str,
    columns: Sequence[Column],
    rows: Iterable[Any],
    drop_empty: bool = False,
    **about: Any,
) -> Table:
    """Return the table of `rows`; with `drop_empty` without the columns that hold no value.

    Under such a table a note names each reason for a missing value. `about`: further fields.
    """
    cells = [[column.cell(row) for column in columns] for row in rows]
    notes = list(about.pop("notes", ()))
    if not drop_empty:
        return Table(name, list(columns), cells, notes=notes, **about)
    filled = [0] + [
        n for n in range(1, len(columns)) if any(line[n].value is not None for line in cells)
    ]
    notes += missing_notes([column.title for column in columns], cells)
    kept = [[line[n] for n in filled] for line in cells] if len(filled) > 1 else []
    return Table(name, [columns[n] for n in filled], kept, notes=notes, **about)


def missing_notes(columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[str]:
    """Return a line per reason: which columns lack numbers, of which rows."""
    missing: dict[str, dict[str, list[str]]] = {}  # reason, label, titles
    for line in cells:
        for column, cell in zip(columns, line, strict=True):
            if cell.value is None and cell.reason not in ("", NOT_MEASURED):
                missing.setdefault(cell.reason, {}).setdefault(line[0].text, []).append(column)
    notes = []
    for reason, columns_of in missing.items():
        for titles, labels in _labels_by_titles(columns_of).items():
            rows = "all" if len(labels) == len(cells) > 1 else join_words(labels)
            notes.append(f"{NO_VALUE} {titles} · {rows}: {reason}")
    return notes


def _labels_by_titles(columns_of: dict[str, list[str]]) -> dict[str, list[str]]:
    """Group the rows that lack the same columns, under the titles of these."""
    labels_of: dict[str, list[str]] = {}
    for label, names in columns_of.items():
        labels_of.setdefault("; ".join(names), []).append(label)
    return labels_of


def value_cell(
    value: float | None, show: Show, small: str = "", mark: str = "", reason: str = ""
) -> Cell:
    """Return a number as a cell; where it is not finite, a dash with the reason."""
    if value is None or not math.isfinite(value):
        return Cell(NO_VALUE, reason=reason)
    return Cell(show(value), float(value), small, mark)


def error_cell(value: float, error: float, show: Show, mark: str = "") -> Cell:
    """Return a number with its standard error below it."""
    return value_cell(value, show, f"± {show(error)}", mark)


def text_cell(text: str, small: str = "") -> Cell:
    """Return text that is not sorted by a number."""
    return Cell(text, text or None, small)


def words_cell(sentence: str, value: float | str | None = None, small: str = "") -> Cell:
    """Return a sentence as a cell, with line breaks."""
    return Cell(sentence, value, small, "words")


def name_column(
    cell: Callable[[Any], Cell], help: str = "one row per variant; seeds are averaged"
) -> Column:
    """Return the first column, which names the architecture."""
    return Column("architecture", help, cell)


def metric_column(name: str, cell: Callable[[Any], Cell], help: str = "") -> Column:
    """Return a column under a metric's title and tooltip. `help`: what the cell shows beyond it."""
    spec = describe(name)
    return Column(spec.title, f"{spec.help} {help}".strip(), cell, metric=name)


def format_metric(name: str, value: float) -> str:
    """Return a metric's value in the format of its unit."""
    return format_unit(describe(name).unit, value)


def format_unit(unit: str, value: float) -> str:
    """Return a value in the format of its unit."""
    show = FORMATS.get(unit) or FORMATS.get(unit.partition("/")[0], format_number)
    return show(value)


def registered_columns(
    section: str, value: Callable[[Any, str], Cell], handled: Collection[str] = ()
) -> Iterator[Column]:
    """Yield a column for each metric of a section but those that the table shows in its own way."""
    for spec in in_section(section):
        if spec.name not in handled:
            yield metric_column(spec.name, _column_of(value, spec.name))


def _column_of(value: Callable[[Any, str], Cell], name: str) -> Callable[[Any], Cell]:
    return lambda row: value(row, name)
