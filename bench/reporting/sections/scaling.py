"""Scaling studies as tables: the measured leaders, the laws, and where the laws cross."""

from functools import partial
from typing import Any

from bench.analysis.formatting import (
    NO_VALUE,
    format_fixed,
    format_large,
    format_number,
    format_percent,
    plural,
)
from bench.analysis.scaling import (
    MAX_MISFIT,
    LawCrossing,
    ScalingSeries,
    ScalingStudy,
    count_improving_sizes,
    gain_per_doubling,
    leaders,
)
from bench.reporting.html_table import (
    EMPTY,
    Cell,
    Column,
    Table,
    build_table,
    name_column,
    value_cell,
    words_cell,
)
from bench.reporting.sections.scaling_text import (
    change_text,
    crossing_sentence,
    held_text,
    interval_text,
    is_certain,
    is_finite,
)
from bench.stats.scaling_laws import HORIZON, NAMES


def scaling_tables(study: ScalingStudy) -> list[Table]:
    """Return the measured leaders, the laws, and where the laws cross."""
    tables = [_leader_table(study), _law_table(study), _crossing_table(study)]
    return [table for table in tables if table.rows]


def _leader_table(study: ScalingStudy) -> Table:
    rows = leaders(study)

    def cell(amount: float, rows_of_size: tuple[float, Any]) -> Cell:
        own: Any = rows_of_size[1][rows_of_size[1]["tokens_seen"] == amount]
        for row in own.itertuples():
            ahead = f"ahead of {row.label_next} by {format_fixed(row.ahead)}"
            return words_cell(row.label, row.label, f"{format_fixed(row.loss)}, {ahead}")
        return EMPTY

    columns = [
        Column(
            "parameters, at most", "the size", lambda size: Cell(f"{size[0]:,.0f}", float(size[0]))
        ),
        *(
            Column(f"{format_large(amount)} tokens", "of training", partial(cell, amount))
            for amount in sorted(rows["tokens_seen"].unique())
        ),
    ]
    note = "Means over seeds; the verdicts of each size say whether a lead is more than chance."
    by_size = rows.groupby("budget")
    heading = "Lowest measured loss"
    return build_table(f"{study.name}-leaders", columns, by_size, notes=[note], heading=heading)


def _law_table(study: ScalingStudy) -> Table:
    columns = [
        name_column(lambda one: Cell(one.label, one.label),
                    "one recipe over all sizes and amounts"),
        Column("irreducible loss E", f"{study.unit}; with its 95 % interval", partial(_term, 0)),
        Column("exponent of size", "a of A·N^−a, N: all parameters", partial(_term, 2)),
        Column("exponent of data", "b of B·D^−b: training tokens", partial(_term, 4)),
        Column("misfit", "standard deviation of log(measured / fitted loss)", _misfit),
        Column("doubling the data", "change of the loss at the largest size: measured, not fitted",
               lambda one: value_cell(gain_per_doubling(one), change_text)),
        Column("more data was better", "sizes at which each step of more data lowered the loss",
               _improving),
        Column("points", "sizes × amounts; seeds are averaged within each", _points),
    ]  # fmt: skip
    notes = [
        "Loss = E + A·N^−a + B·D^−b (Hoffmann et al. 2022), least squares on the logarithm of the "
        "loss. Intervals: a parametric bootstrap over the measured points, whose residual variance "
        "is drawn too. One learning rate for all sizes of an architecture.",
        *[f"{one.label}: {one.reason}." for one in study.series if one.reason],
    ]
    if study.floor is not None:
        given = f"{format_fixed(study.floor, 4)} nats per token: given, not fitted."
        notes.insert(1, f"E is the known optimum on the scored tokens, {given}")
    caption = (
        f"{study.data}, a context of {study.context} tokens, scored on the "
        f"{study.part or 'held-out'} part in {study.unit}."
    )
    return build_table(
        f"{study.name}-laws", columns, study.series, caption=caption, notes=notes, heading="Laws"
    )


def _term(place: int, one: ScalingSeries) -> Cell:
    if one.law is None:
        return value_cell(None, format_fixed, reason=one.reason)
    value, low, high = one.law.interval(place)
    if place == 0 and one.law.floor_given:
        return Cell(format_fixed(value), value, "known")
    if NAMES[place] in one.law.at_bound:
        return Cell("at the bound", None, "not determined by these points")
    unclear = place == 0 and low < 0.01 * value + 1e-3
    small = f"{format_fixed(low, 2)} to {format_fixed(high, 2)}"
    return Cell(format_fixed(value, 2), value, small + ", not distinguishable from 0" * unclear)


def _misfit(one: ScalingSeries) -> Cell:
    if one.law is None:
        return EMPTY
    bad = one.law.spread > MAX_MISFIT
    small, mark = ("too large to extrapolate", "bad") if bad else ("", "")
    return value_cell(one.law.spread, format_percent, small, mark)


def _improving(one: ScalingSeries) -> Cell:
    improved, sizes = count_improving_sizes(one)
    return Cell(f"at {improved} of {plural(sizes, 'size')}", improved / sizes if sizes else None)


def _points(one: ScalingSeries) -> Cell:
    least, most = int(one.cells["seeds"].min()), int(one.cells["seeds"].max())
    seeds = f"{plural(least, 'seed')} each" if least == most else f"{least} to {most} seeds each"
    return Cell(str(len(one.cells)), float(len(one.cells)), seeds)


def _crossing_table(study: ScalingStudy) -> Table:
    columns = [
        Column("pair", "the leader at the low end first",
               lambda one: Cell(f"{one.leader} · {one.follower}", f"{one.leader} {one.follower}")),
        Column("as this grows", "the value that is held fixed below it",
               lambda one: Cell(one.axis, one.axis, held_text(one))),
        Column("the other overtakes at", "below it the 95 % interval", _meeting),
        Column("over the largest measured", "above 1 it is extrapolated",
               _extrapolation),
        Column("in words", "", lambda one: words_cell(crossing_sentence(one))),
    ]  # fmt: skip
    note = (
        f"Where two laws cross, followed to {HORIZON:g} times the largest measured value. Along "
        "FLOPs each law splits them optimally between size and data. A leader is named where it "
        "leads in 95 % of the bootstrap draws."
    )
    heading = "Which architecture overtakes which"
    name = f"{study.name}-crossings"
    return build_table(name, columns, study.crossings, notes=[note], heading=heading)


def _extrapolation(one: LawCrossing) -> Cell:
    beyond = one.meeting.beyond if is_certain(one) and is_finite(one) else None
    return value_cell(beyond, lambda value: f"×{format_number(value, 2)}")


def _meeting(one: LawCrossing) -> Cell:
    if not is_certain(one):
        return Cell(NO_VALUE)
    small = interval_text(one).removeprefix("95 % interval ")
    if not is_finite(one):
        return Cell("no crossing", None, small)
    return Cell(format_large(one.meeting.place), one.meeting.place, small)
