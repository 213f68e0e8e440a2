"""Scaling studies as tables: the measured leaders, the laws, and where the laws cross."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

from bench.analysis import formatting as fmt
from bench.analysis import scaling as laws
from bench.reporting import html_table as ht
from bench.reporting.listed import listed_columns
from bench.reporting.section import RowText
from bench.reporting.sections import scaling_text as words
from bench.reporting.sentences import say
from bench.stats.scaling_laws import NAMES


def scaling_tables(study: laws.ScalingStudy) -> list[ht.Table]:
    """Return the measured leaders, the laws, and where the laws cross."""
    tables = [_leader_table(study), _law_table(study), _crossing_table(study)]
    return [table for table in tables if table.rows]


def _leader_table(study: laws.ScalingStudy) -> ht.Table:
    rows = laws.leaders(study)

    def cell(amount: float, rows_of_size: tuple[float, Any]) -> ht.Cell:
        own: Any = rows_of_size[1][rows_of_size[1]["tokens_seen"] == amount]
        for row in own.itertuples():
            ahead = f"ahead of {row.label_next} by {fmt.format_fixed(row.ahead)}"
            return ht.words_cell(row.label, row.label, f"{fmt.format_fixed(row.loss)}, {ahead}")
        return ht.EMPTY

    columns = [
        ht.Column("parameters, at most", "the size",
               lambda size: ht.Cell(f"{size[0]:,.0f}", float(size[0]))),
        *(ht.Column(f"{fmt.format_large(amount)} tokens", "of training", partial(cell, amount))
          for amount in sorted(rows["tokens_seen"].unique())),
    ]  # fmt: skip
    note = "Means over seeds; the verdicts of each size say whether a lead is more than chance."
    about: Any = {"notes": [note], "heading": "Lowest measured loss"}
    return ht.build_table(f"{study.name}-leaders", columns, rows.groupby("budget"), **about)


def _law_table(study: laws.ScalingStudy) -> ht.Table:
    columns = [
        ht.name_column(help="one recipe over all sizes and amounts"),
        ht.Column("irreducible loss E", f"{study.unit}; with its 95 % interval", partial(_term, 0)),
        *listed_columns(
            "laws", size=partial(_term, 2), data=partial(_term, 4), misfit=_misfit, gain=_gain,
            improving=_improving, points=_points,
        ),
    ]  # fmt: skip
    caption, *notes = say("laws", study)
    unfitted = [one for one in study.series if one.reason]
    notes += [RowText(f"{one.label}: {one.reason}.", [one.label]) for one in unfitted]
    about: Any = {"caption": caption, "notes": notes, "heading": "Laws"}
    return ht.build_table(f"{study.name}-laws", columns, study.series, **about)


def _term(place: int, one: laws.ScalingSeries) -> ht.Cell:
    if one.law is None:
        return replace(ht.EMPTY, reason=one.reason)
    value, low, high = one.law.interval(place)
    if place == 0 and one.law.floor_given:
        return ht.Cell(fmt.format_fixed(value), value, "known")
    if NAMES[place] in one.law.at_bound:
        return ht.Cell("at the bound", None, "not determined by these points")
    unclear = place == 0 and low < 0.01 * value + 1e-3
    small = f"{fmt.format_fixed(low, 2)} to {fmt.format_fixed(high, 2)}"
    return ht.Cell(
        fmt.format_fixed(value, 2), value, small + ", not distinguishable from 0" * unclear
    )


def _misfit(one: laws.ScalingSeries) -> ht.Cell:
    spread = one.law.spread if one.law else math.nan
    small, mark = ("too large to extrapolate", "bad") if spread > laws.MAX_MISFIT else ("", "")
    return ht.value_cell(spread, fmt.format_percent, small, mark)


def _gain(one: laws.ScalingSeries) -> ht.Cell:
    return ht.value_cell(laws.gain_per_doubling(one), words.change_text)


def _improving(one: laws.ScalingSeries) -> ht.Cell:
    improved, sizes = laws.count_improving_sizes(one)
    return ht.Cell(
        f"at {improved} of {fmt.plural(sizes, 'size')}", improved / sizes if sizes else None
    )


def _points(one: laws.ScalingSeries) -> ht.Cell:
    least, most = int(one.cells["seeds"].min()), int(one.cells["seeds"].max())
    seeds = (
        f"{fmt.plural(least, 'seed')} each" if least == most else f"{least} to {most} seeds each"
    )
    return ht.Cell(str(len(one.cells)), float(len(one.cells)), seeds)


def _crossing_table(study: laws.ScalingStudy) -> ht.Table:
    columns = listed_columns(
        "crossings", pair=lambda one: f"{one.leader} · {one.follower}",
        axis=lambda one: ht.text_cell(one.axis, words.held_text(one)), meeting=_meeting,
        beyond=_beyond, words=lambda one: ht.words_cell(words.crossing_sentence(one)),
    )  # fmt: skip
    about: Any = {"notes": say("law_crossings"), "heading": "Which architecture overtakes which"}
    return ht.build_table(f"{study.name}-crossings", columns, study.crossings, **about)


def _beyond(one: laws.LawCrossing) -> ht.Cell:
    beyond = one.meeting.beyond if one.is_certain and one.is_finite else None
    return ht.value_cell(beyond, lambda value: f"×{fmt.format_number(value, 2)}")


def _meeting(one: laws.LawCrossing) -> ht.Cell:
    if not one.is_certain:
        return ht.EMPTY
    small = words.interval_text(one).removeprefix("95 % interval ")
    if not one.is_finite:
        return ht.Cell("no crossing", None, small)
    return ht.Cell(fmt.format_large(one.meeting.place), one.meeting.place, small)
