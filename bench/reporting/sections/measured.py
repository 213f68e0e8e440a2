"""Tables of measurements: a row per subject of a speed group, columns from the registry."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from bench.analysis.sessions import TRAIN_RATE, Point
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import (
    Cell,
    Column,
    Show,
    Table,
    build_table,
    format_metric,
    name_column,
    value_cell,
)


def subject_order(group: SpeedGroup) -> list[str]:
    """Return the subjects by training speed where a claim may be made about it, else by name."""
    names = sorted(group.subjects, key=group.label)
    if not group.session.allows_claim(TRAIN_RATE):
        return names
    rates = {subject: group.session.value(subject, TRAIN_RATE) for subject in names}
    return sorted(names, key=lambda one: -rates[one] if math.isfinite(rates[one]) else math.inf)


def measured_table(
    group: SpeedGroup, name: str, heading: str, columns: Sequence[Column], caption: str = ""
) -> Table:
    """Return a table of the group's subjects; columns without any value are left out."""
    columns = [name_column(partial(_subject_cell, group), "as it was measured"), *columns]
    order = subject_order(group)
    return build_table(
        f"{group.name}-{name}", columns, order, drop_empty=True, heading=heading, caption=caption
    )


def _subject_cell(group: SpeedGroup, subject: str) -> Cell:
    row: Any = group.names.loc[subject]
    small = "the reference" if subject == group.session.reference else ""
    badges = ("stale",) * bool(row["stale"])
    return Cell(row["label"], row["label"], small, badges=badges)


def measured_cell(group: SpeedGroup, subject: str, metric: str) -> Cell:
    """Return the median of a metric in the format of its unit."""
    value, reason = (
        group.session.value(subject, metric),
        group.session.missing_reason(subject, metric),
    )
    return value_cell(value, partial(format_metric, metric), reason=reason)


def point_column(title: str, help: str, group: SpeedGroup, point: Point, show: Show) -> Column:
    """Return the column of one point of a metric that is measured along an axis."""
    session = group.session

    def cell(subject: str) -> Cell:
        reason = session.gaps.get((subject, point), "") or session.missing_reason(subject, point[0])
        return value_cell(session.at(subject, point), show, reason=reason)

    return Column(title, help, cell)
