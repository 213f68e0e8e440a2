"""The one table type of the page: columns that turn a row into a cell, and the cells.

A metric's heading and tooltip come from the registry (`bench.records.metrics`).
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis import formatting
from bench.analysis.fairness import MAX_UNUSED_BUDGET
from bench.analysis.formatting import NO_VALUE, format_count, format_fixed, join_words
from bench.analysis.sessions import NOT_MEASURED
from bench.records.metrics import describe, in_section
from bench.reporting.section import RowText

Show = Callable[[float], str]
FORMATS: dict[str, Show] = {  # by a unit, or its part before the slash
    "bytes": formatting.format_bytes,
    "s": formatting.format_seconds,
    "share": formatting.format_percent,
    "J": formatting.format_joules,
    **dict.fromkeys(("tokens/s", "FLOPs", "FLOP"), formatting.format_large),
    **dict.fromkeys(("bits", "nats"), format_fixed),
    **dict.fromkeys(("parameters", "tokens", "sequences", "operators"), format_count),
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
UNNOTED = ("", NOT_MEASURED)  # reasons that need no note


@dataclass(frozen=True)
class Column:
    """A column: its heading, its tooltip, and how a row becomes a cell."""

    title: str
    help: str
    cell: Callable[[Any], Cell]
    group: str = ""  # columns of a group are shown or hidden together
    metric: str = ""
    better: str = ""  # higher or lower, where that is not the metric's

    @property
    def is_higher_better(self) -> bool:
        """Tell whether a first click sorts from high to low."""
        return (self.better or describe(self.metric).better) == "higher"


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
    """Return the table of `rows`, a frame or objects; `about`: further fields.

    With `drop_empty` it has no columns without a value, and a note for each reason of that.
    """
    items = rows.itertuples() if isinstance(rows, pd.DataFrame) else rows
    cells = [[column.cell(row) for column in columns] for row in items]
    notes = list(about.pop("notes", ()))
    if not drop_empty:
        return Table(name, list(columns), cells, notes=notes, **about)
    places = range(1, len(columns))
    filled = [0, *(n for n in places if any(line[n].value is not None for line in cells))]
    notes += missing_notes([column.title for column in columns], cells)
    kept = [[line[n] for n in filled] for line in cells] if len(filled) > 1 else []
    return Table(name, [columns[n] for n in filled], kept, notes=notes, **about)


def missing_notes(columns: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[str]:
    """Return a line per reason: which columns lack numbers, of which rows."""
    missing: dict[str, dict[str, list[str]]] = {}  # reason, label, titles
    for line in cells:
        for column, cell in zip(columns, line, strict=True):
            if cell.value is None and cell.reason not in UNNOTED:
                missing.setdefault(cell.reason, {}).setdefault(line[0].text, []).append(column)
    labels_of: dict[tuple[str, str], list[str]] = {}  # by reason and titles
    for reason, titles_of in missing.items():
        for label, titles in titles_of.items():
            labels_of.setdefault((reason, "; ".join(titles)), []).append(label)
    return [
        RowText(f"{NO_VALUE} {titles} · {_rows_text(labels, len(cells))}: {reason}", labels)
        for (reason, titles), labels in labels_of.items()
    ]


def _rows_text(labels: Sequence[str], count: int) -> str:
    return "all" if len(labels) == count > 1 else join_words(labels)


def shown_tables(tables: Iterable[Table]) -> list[Table]:
    """Return the tables that have rows, or a note why they have none."""
    return [table for table in tables if table.rows or table.notes]


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


def label_cell(row: Any) -> Cell:
    """Return a row's label with its family, and with its badges where it was trained."""
    flags = {"stale": row.stale} if hasattr(row, "stale") else {}
    if hasattr(row, "lossy"):
        flags |= {"lossy": row.lossy, "A/A control": row.control, "UNTUNED": row.untuned}
    badges = tuple(badge for badge, given in flags.items() if given)
    return Cell(row.label, row.label, str(row.family), badges=badges)


def name_column(
    cell: Callable[[Any], Cell] = lambda row: text_cell(row.label),
    help: str = "one row per variant; seeds are averaged",
) -> Column:
    """Return the first column, which names the architecture."""
    return Column("architecture", help, cell)


def number(title: str, help: str, field: str, show: Show = format_fixed) -> Column:
    """Return a column of a number that rows have under the name `field`."""
    return Column(title, help, lambda row: value_cell(getattr(row, field), show))


def text(title: str, help: str, read: Callable[[Any], str]) -> Column:
    """Return a column of texts."""
    return Column(title, help, lambda row: text_cell(read(row)))


def metric_column(name: str, cell: Callable[[Any], Cell], help: str = "") -> Column:
    """Return a column under a metric's title and tooltip. `help`: what the cell shows beyond it."""
    spec = describe(name)
    return Column(spec.title, f"{spec.help} {help}".strip(), cell, metric=name)


def metric_number(name: str, field: str = "", show: Show | None = None, help: str = "") -> Column:
    """Return the column of a metric that rows have as a number, by default under its own name."""
    show, field = show or partial(format_metric, name), field or name
    return metric_column(name, lambda row: value_cell(float(getattr(row, field)), show), help)


def registered_columns(
    section: str, value: Callable[[Any, str], Cell], handled: Collection[str] = ()
) -> Iterator[Column]:
    """Yield a column for each metric of a section but those that the table shows in its own way."""

    def column_of(name: str) -> Column:
        return metric_column(name, lambda row: value(row, name))

    yield from (column_of(one.name) for one in in_section(section) if one.name not in handled)


def mean_columns(section: str, means: pd.DataFrame, handled: Collection[str]) -> Iterator[Column]:
    """Yield columns for the metrics of a section that some row has and no column shows yet.

    `means`: (rows, metrics), the mean over the finished runs of each variant.
    """

    def cell(row: Any, name: str) -> Cell:
        return value_cell(float(means[name].get(row.Index, math.nan)), partial(format_metric, name))

    filled = {str(name) for name in means if means[name].notna().any()}
    absent = {spec.name for spec in in_section(section)} - filled
    yield from registered_columns(section, cell, {*handled, *absent})


def format_metric(name: str, value: float) -> str:
    """Return a metric's value in the format of its unit."""
    return format_unit(describe(name).unit, value)


def format_unit(unit: str, value: float) -> str:
    """Return a value in the format of its unit."""
    show = FORMATS.get(unit) or FORMATS.get(unit.partition("/")[0], formatting.format_number)
    return show(value)


def _parameters_cell(row: Any) -> Cell:
    unused = row.budget_slack > MAX_UNUSED_BUDGET
    notes = [f"{100 * row.budget_slack:.1f} % unused"] if unused else []
    if row.parameters_active < row.parameters:  # False where an older record has no such number
        notes.append(f"{format_count(row.parameters_active)} active")
    return value_cell(row.parameters, format_count, ", ".join(notes), "bad" if unused else "")


def _seeds_cell(row: Any) -> Cell:
    missing = row.seeds < row.seeds_asked
    shown = f"{row.seeds} of {row.seeds_asked}" if missing else str(row.seeds)
    return Cell(shown, float(row.seeds), mark="bad" if missing else "")


VARIANT = name_column(label_cell)
PARAMETERS = metric_column("parameters", _parameters_cell)
SEEDS = Column("seeds", "finished seeds", _seeds_cell)
