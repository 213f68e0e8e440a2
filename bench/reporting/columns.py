"""Tables of measured numbers, a row an architecture: columns that nobody fills are left out, and every gap keeps its reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.analysis.formatting import NO_VALUE, join_words
from bench.analysis.rows import each
from bench.analysis.sessions import NOT_MEASURED, MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import Cell, Table

Show = Callable[[float], str]


@dataclass(frozen=True)
class MeasuredColumn:
    """A column: its title, what it says, and the cell of a subject."""

    title: str
    about: str
    cell: Callable[[str], Cell]


def value_cell(value: float, show: Show, small: str = "", why: str = NOT_MEASURED) -> Cell:
    """A number as a cell; a dash with its reason where there is none."""
    return Cell(show(value), value, small) if value == value else Cell(NO_VALUE, None, why=why)


def metric_column(
    sitting: MeasuredSession, title: str, about: str, metric: str, show: Show
) -> MeasuredColumn:
    """The median of a metric, as it is."""
    return MeasuredColumn(
        title,
        about,
        lambda subject: value_cell(
            sitting.value(subject, metric), show, why=sitting.missing_reason(subject, metric)
        ),
    )


def measurement_table(
    group: SpeedGroup,
    name: str,
    heading: str,
    caption: str,
    columns: Sequence[MeasuredColumn],
    order: Sequence[str],
) -> Table:
    """The table. `order`: its subjects, from the first row to the last."""
    cells = [[column.cell(subject) for column in columns] for subject in order]
    kept = [
        place for place in range(len(columns)) if any(row[place].value is not None for row in cells)
    ]
    names = [_name(row, group.session) for row in each(group.names.loc[list(order)])]
    return Table(
        name=f"{group.name}-{name}",
        caption=caption,
        columns=[
            ("architecture", "as it was measured"),
            *((columns[place].title, columns[place].about) for place in kept),
        ],
        rows=[
            [first, *(row[place] for place in kept)]
            for first, row in zip(names, cells, strict=True)
        ]
        if kept
        else [],
        notes=_reasons(columns, cells, [group.label(subject) for subject in order]),
        heading=heading,
    )


def _name(row: object, sitting: MeasuredSession) -> Cell:
    label, short, subject = (str(getattr(row, field)) for field in ("label", "short", "Index"))
    badges = ("stale",) if getattr(row, "stale", False) else ()
    said = [f"in figures: {short}"] if short != label else []
    said += ["the reference"] if subject == sitting.reference else []
    return Cell(
        label, label, small=", ".join(said), colour=int(getattr(row, "colour", 0)), badges=badges
    )


def _reasons(
    columns: Sequence[MeasuredColumn], cells: Sequence[Sequence[Cell]], labels: Sequence[str]
) -> list[str]:
    """A line for each reason: which numbers are missing, of whom, and why."""
    missing: dict[str, dict[str, list[str]]] = {}  # reason, label, titles
    for label, row in zip(labels, cells, strict=True):
        for column, cell in zip(columns, row, strict=True):
            if cell.value is None and cell.why and cell.why != NOT_MEASURED:
                missing.setdefault(cell.why, {}).setdefault(label, []).append(column.title)
    lines = []
    for why, of in missing.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for label, titles in of.items():
            alike.setdefault(tuple(titles), []).append(label)
        for named, who in alike.items():
            everyone = len(who) == len(labels) > 1
            lines.append(
                f"{NO_VALUE} {', '.join(named)} · {'all' if everyone else join_words(who)}: {why}"
            )
    return lines
