"""Scaling laws in words and as tables of the page."""

import math
from typing import Any

import pandas as pd

from bench.analysis.formatting import (
    NO_VALUE,
    format_fixed,
    format_large,
    format_number,
    format_percent,
    join_words,
    plural,
)
from bench.analysis.rows import each
from bench.analysis.scaling import (
    LawCrossing,
    ScalingSeries,
    ScalingStudy,
    count_improving_sizes,
    gain_per_doubling,
)
from bench.reporting.html_table import Cell, Table
from bench.stats.scaling_laws import DATA, FLOPS, HORIZON, SIZE, ScalingLaw

MISFIT = 0.03  # of the loss: a law that misses its own cells by more says nothing beyond them
SURE = 0.95  # share of draws in which the leader has to lead
NAMED = 3  # crossings that the opening sentences name
WAYS = {
    SIZE: "with more parameters",
    DATA: "with more data",
    FLOPS: "with more computing, split the best way",
}
UNITS = {SIZE: "parameters", DATA: "tokens", FLOPS: "training FLOPs"}


def scaling_sentences(scale: ScalingStudy) -> list[str]:
    """More data, how much better; who overtakes whom, and how far that is extrapolated; of whom there is no law."""
    said = [_more_data(scale), _changing(scale)]
    met = [
        one
        for one in scale.crossings
        if math.isfinite(one.meeting.place) and predicted(one) and one.meeting.agreement >= SURE
    ]
    said += [
        crossing_sentence(one) for one in sorted(met, key=lambda one: one.meeting.beyond)[:NAMED]
    ]
    bad = [
        f"{one.label} ({format_percent(one.law.spread)})"
        for one in scale.series
        if one.law and one.law.spread > MISFIT
    ]
    if bad:
        said.append(
            f"The law misses the cells of {join_words(bad)}: no crossing is read off it. "
            "Cells that are still at the steep beginning of training follow no power law."
        )
    return [line for line in said if line] + [
        f"{one.label}: {one.reason}." for one in scale.series if one.reason
    ]


def _more_data(scale: ScalingStudy) -> str:
    counts = [count_improving_sizes(one) for one in scale.series]
    if not any(whole for _, whole in counts):
        return ""  # no size has several amounts
    everywhere = all(good == whole for good, whole in counts)
    amounts = sorted({amount for one in scale.series for amount in one.cells["tokens_seen"]})
    span = f"from {format_large(amounts[0])} to {format_large(amounts[-1])} tokens"
    gains = join_words(
        [
            f"{_change(gain_per_doubling(one))} for {one.label}"
            for one in scale.series
            if math.isfinite(gain_per_doubling(one))
        ]
    )
    doubling = (
        f" A doubling of the data changed the loss, at the largest size, by {gains}."
        if gains
        else ""
    )
    if everywhere:
        return f"The larger the dataset, the better: at every size, each step {span} lowered every mean loss.{doubling}"
    odd = [
        f"{one.label} ({good} of {whole})"
        for one, (good, whole) in zip(scale.series, counts, strict=True)
        if good < whole
    ]
    return f"More data was not always better {span}: sizes at which each step lowered the mean loss, {join_words(odd)}.{doubling}"


def _changing(scale: ScalingStudy) -> str:
    """Who leads at how many of the measured cells, and at the far corner; nothing of one architecture alone."""
    rows = find_leaders(scale)
    if rows.empty:
        return ""
    counts = rows["label"].value_counts()
    last = rows.sort_values(["budget", "tokens_seen"]).iloc[-1]
    corner = f"at the largest size with the most data {last['label']}, by {format_fixed(last['ahead'])} {scale.unit}"
    if len(counts) == 1:
        return f"Measured, {counts.index[0]} has the lowest mean at each of {plural(len(rows), 'cell')}; {corner}."
    shares = join_words(
        [f"{label} at {amount} of {len(rows)} cells" for label, amount in counts.items()]
    )
    return f"Measured, the lowest mean changes hands: {shares}; {corner}."


def find_leaders(scale: ScalingStudy) -> pd.DataFrame:
    """The lowest mean loss of each size and amount that several architectures were trained at, and by how much it leads."""
    cells = pd.concat([one.cells.assign(label=one.label) for one in scale.series]).sort_values(
        "loss", kind="stable"
    )
    groups = cells.groupby(["budget", "tokens_seen"])
    first, second = (
        groups.nth(0),
        groups.nth(1).set_index(["budget", "tokens_seen"])[["label", "loss"]],
    )
    table = first.join(second, on=["budget", "tokens_seen"], rsuffix="_next", how="inner")
    return table.assign(ahead=table["loss_next"] - table["loss"])


def predicted(one: LawCrossing) -> bool:
    """Whether the crossing may be told: by laws that fit their own cells."""
    return one.spread <= MISFIT


def _held(one: LawCrossing) -> str:
    return {
        SIZE: f"after {format_large(one.fixed)} tokens",
        DATA: f"at {format_large(one.fixed)} parameters",
    }.get(one.axis, "")


def _far(one: LawCrossing) -> str:
    beyond = one.meeting.beyond
    return (
        "within the measured range"
        if beyond <= 1
        else f"{format_number(beyond, 2)} times the largest measured: extrapolated"
    )


def _end(place: float, one: LawCrossing) -> str:
    return (
        format_large(place)
        if math.isfinite(place)
        else f"beyond {format_large(HORIZON * one.high)}"
    )


def interval(one: LawCrossing) -> str:
    low, high = one.meeting.low, one.meeting.high
    if not math.isfinite(low):
        return "in 97.5 % of the draws too"
    first = "the smallest measured" if low <= one.low * 1.001 else _end(low, one)
    return f"95 % interval {first} to {_end(high, one)}"


def crossing_sentence(one: LawCrossing) -> str:
    """Who leads, who overtakes, where, how sure, and how far beyond what was measured."""
    held = f" {_held(one)}" if _held(one) else ""
    if one.meeting.agreement < SURE:
        names = f"{one.leader} and {one.follower}"
        return f"Which of {names} leads at {format_large(one.low)} {UNITS[one.axis]}{held} can not be told."
    if not predicted(one):
        return f"{one.leader} leads {one.follower}{held}; whether this turns {WAYS[one.axis]} is not predicted."
    if not math.isfinite(one.meeting.place):
        return (
            f"{one.leader} stays ahead of {one.follower} {WAYS[one.axis]}{held}, up to {HORIZON:g} times the largest measured "
            f"({interval(one)})."
        )
    where = f"at about {format_large(one.meeting.place)} {UNITS[one.axis]}"
    return f"{one.follower} overtakes {one.leader} {WAYS[one.axis]}{held}, {where} ({interval(one)}; {_far(one)})."


def _change(share: float) -> str:
    """What a share of the loss that went is as a change: −2.1 %, or +0.3 % where it grew."""
    return f"{'−' if share >= 0 else '+'}{format_percent(abs(share))}"


# --- tables -----------------------------------------------------------------------------------------------------------


def scaling_tables(scale: ScalingStudy) -> list[Table]:
    """Who leads where, measured; the laws; then where they cross."""
    tables = [_leaders(scale), _laws(scale), _crossed(scale)]
    return [table for table in tables if table.rows]


def _leaders(scale: ScalingStudy) -> Table:
    """No law, but what was measured: who leads at each size and amount."""
    cells = find_leaders(scale)
    amounts = sorted(cells["tokens_seen"].unique())
    rows = []
    for budget, group in cells.groupby("budget"):
        of = {row.tokens_seen: row for row in each(group)}
        rows.append(
            [
                Cell(f"{int(str(budget)):,}", float(str(budget))),
                *(_leader(of.get(amount)) for amount in amounts),
            ]
        )
    columns = [
        ("parameters, at most", "the size"),
        *((f"{format_large(amount)} tokens", "of training") for amount in amounts),
    ]
    note = "Means over seeds; whether a lead is more than chance, the verdicts of that size and amount say."
    return Table(f"{scale.name}-leaders", "", columns, rows, [note], "Who leads, measured")


def _leader(row: Any) -> Cell:
    if row is None:
        return Cell(NO_VALUE)
    return Cell(
        row.label,
        row.label,
        f"{format_fixed(row.loss)}, ahead of {row.label_next} by {format_fixed(row.ahead)}",
        mark="words",
    )


def _laws(scale: ScalingStudy) -> Table:
    columns = [
        ("architecture", "one recipe over all sizes and amounts"),
        ("floor E", f"{scale.unit}; below it the 95 % interval"),
        ("exponent of size", "a of A·N^−a: parameters, embeddings included"),
        ("exponent of data", "b of B·D^−b: training tokens"),
        ("misses its cells by", "standard deviation of the logarithm of measured over fitted loss"),
        (
            "a doubling of data",
            "share of the loss that it took off at the largest size: measured, not fitted",
        ),
        ("more data was better", "at how many sizes each step of more data lowered the mean loss"),
        ("cells", "sizes × amounts; seeds are averaged within each"),
    ]
    rows = [_law(series) for series in scale.series]
    notes = [
        "Loss = E + A·N^−a + B·D^−b (Hoffmann et al. 2022), least squares on the logarithm of the loss, a cell a point. "
        "Intervals: a parametric bootstrap over cells, whose residual variance is drawn too. "
        "One learning rate for all sizes of an architecture.",
        *[f"{series.label}: {series.reason}." for series in scale.series if series.reason],
    ]
    if scale.floor is not None:
        notes.insert(
            1,
            f"E is the oracle’s loss on the scored tokens, {format_fixed(scale.floor, 4)} nats per token: given, not fitted.",
        )
    caption = f"{scale.data}, a context of {scale.context} tokens, scored on the {scale.part or 'held-out'} part in {scale.unit}."
    return Table(f"{scale.name}-laws", caption, columns, rows, notes, "Laws")


def _law(series: ScalingSeries) -> list[Cell]:
    good, whole = count_improving_sizes(series)
    law = series.law
    cells = [Cell(series.label, series.label, colour=series.colour)]
    cells += (
        [_number(law, place) for place in (0, 2, 4)]
        if law
        else [Cell(NO_VALUE, None, why=series.reason)] * 3
    )
    bad = law is not None and law.spread > MISFIT
    return [
        *cells,
        Cell(
            format_percent(law.spread),
            law.spread,
            "too much to extrapolate" if bad else "",
            "bad" if bad else "",
        )
        if law
        else Cell(NO_VALUE),
        Cell(_change(gain_per_doubling(series)), gain_per_doubling(series))
        if math.isfinite(gain_per_doubling(series))
        else Cell(NO_VALUE),
        Cell(f"at {good} of {plural(whole, 'size')}", good / whole if whole else None),
        Cell(str(len(series.cells)), float(len(series.cells)), _seeds(series)),
    ]


def _seeds(series: ScalingSeries) -> str:
    least, most = int(series.cells["seeds"].min()), int(series.cells["seeds"].max())
    return f"{plural(least, 'seed')} each" if least == most else f"{least} to {most} seeds each"


def _number(law: ScalingLaw, place: int) -> Cell:
    value, low, high = law.interval(place)
    if place == 0 and law.known:
        return Cell(format_fixed(value), value, "known")
    small = f"{format_fixed(low, 2)} to {format_fixed(high, 2)}"
    return Cell(
        format_fixed(value, 2),
        value,
        small + (", not told from 0" if place == 0 and low < 0.01 * value + 1e-3 else ""),
    )


def _crossed(scale: ScalingStudy) -> Table:
    columns = [
        ("pair", "who leads at the low end stands first"),
        ("as this grows", "what is held stands below it"),
        ("the other overtakes at", "below it the 95 % interval"),
        ("over the largest measured", "above 1 it is extrapolated"),
        ("in words", ""),
    ]
    rows = [_crossing(one) for one in scale.crossings]
    notes = [
        f"Where two laws meet, followed to {HORIZON:g} times the largest measured value. Along FLOPs each law splits them "
        "between size and data the best way it can. A leader is told where it leads in 95 % of the draws of the bootstrap."
    ]
    return Table(f"{scale.name}-crossings", "", columns, rows, notes, "Who overtakes whom")


def _crossing(one: LawCrossing) -> list[Cell]:
    place, told = one.meeting.place, one.meeting.agreement >= SURE and predicted(one)
    shown = math.isfinite(place) and told
    words = "no crossing" if told and not math.isfinite(place) else NO_VALUE
    return [
        Cell(f"{one.leader} · {one.follower}", f"{one.leader} {one.follower}"),
        Cell(one.axis, one.axis, _held(one)),
        Cell(
            format_large(place) if shown else words,
            place if shown else None,
            interval(one).removeprefix("95 % interval ") if told else "",
        ),
        Cell(
            f"×{format_number(one.meeting.beyond, 2)}" if shown else NO_VALUE,
            one.meeting.beyond if shown else None,
        ),
        Cell(crossing_sentence(one), None, mark="words"),
    ]
