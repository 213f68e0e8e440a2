"""The figures of one sitting's speeds: curves over length and batch with their intervals, gaps and crossings; bars of memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import exp, log

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.analysis.crossovers import SpeedCrossing, SpeedPair
from bench.analysis.formatting import join_words
from bench.analysis.rows import each
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.plots import drawing
from bench.reporting.plots.figures import EmptyPlot, Plot, make_plot
from bench.reporting.plots.lettering import label_margin

PARTS = ("parameters", "gradients", "optimizer", "activations", "temporary")
MAX_LINES = 30  # architectures in one figure
SPANS = 8.0  # times the least value: more are drawn on a logarithmic axis
CURVES = (
    (
        "train_tokens_per_second",
        "length",
        "Training speed over length",
        "training tokens per second",
        "",
    ),
    (
        "first_token_seconds",
        "length",
        "Time to the first token over length",
        "seconds to the first token",
        "s",
    ),
    (
        "decode_seconds_per_token",
        "length",
        "Time of a further token over length",
        "seconds of a further token",
        "s",
    ),
    (
        "decode_tokens_per_second",
        "batch",
        "Decoding speed over batch",
        "decoded tokens per second",
        "",
    ),
)
MISSING = {
    "train_tokens_per_second": "training was not measured at two lengths",
    "first_token_seconds": "no first token was timed at two lengths",
    "decode_seconds_per_token": "no decoding time was measured at two lengths",
    "decode_tokens_per_second": "decoding was not measured at two batches",
}
AXES = {"length": "tokens of context", "batch": "sequences at once"}


def speed_plots(group: SpeedGroup, pairs: Sequence[SpeedPair]) -> list[Plot]:
    """Every figure of a group; those without numbers are left out with the reason."""
    made, shown = [], limit_group(group)
    said = (
        f" Drawn: {len(shown.names)} of {len(group.names)} architectures."
        if shown is not group
        else ""
    )
    for metric, axis, title, label, unit in CURVES:
        table = curve_points(shown, metric, axis)
        crossed = [
            pair
            for pair in pairs
            if pair.metric == metric and axis == "length" and group.session.allows_claim(metric)
        ]
        crossed = [pair for pair in crossed if {pair.first, pair.second} <= set(shown.names.index)]
        caption = f"{_about(metric, any(pair.crossings for pair in crossed))}{said} {_gaps(shown, metric, axis)}".strip()
        make = partial(curve, shown, table, crossed, AXES[axis], label, unit, MISSING[metric])
        made.append(make_plot(f"{group.name}-{metric}-{axis}", title, caption, make))
    bars = "Live tensor storage at the peak of one training step, by what it holds."
    ticked = "memory_allocator_peak_bytes" in group.session.medians
    bars += (
        " The tick is the allocator’s peak, with the buffers that operators take inside themselves."
        if ticked
        else ""
    )
    return [
        *made,
        make_plot(
            f"{group.name}-bars", "Memory of a training step", bars + said, partial(memory, shown)
        ),
    ]


def limit_group(group: SpeedGroup) -> SpeedGroup:
    """The group, or of a very large one the first by name and the reference: more lines than that nobody can tell apart."""
    if len(group.names) <= MAX_LINES:
        return group
    names = sorted(
        group.subjects,
        key=lambda subject: (subject != group.session.reference, group.label(subject)),
    )
    return replace(group, names=group.names.loc[names[:MAX_LINES]])


def _about(metric: str, crossed: bool) -> str:
    how = {
        "train_tokens_per_second": "Models are built afresh for each length at the same width; tokens a step stay alike.",
        "first_token_seconds": "One prompt of that length read, and a token chosen.",
        "decode_seconds_per_token": "One sequence, from a state that already holds that many tokens.",
        "decode_tokens_per_second": "All sequences of a batch together.",
    }[metric]
    return f"{how} Bands: 95 % intervals of the medians." + (
        " Rings: crossings of paired samples." if crossed else ""
    )


def _gaps(group: SpeedGroup, metric: str, axis: str) -> str:
    """Where curves have gaps, and why."""
    sitting, reasons = group.session, dict[str, dict[str, list[float]]]()
    for (subject, point), why in sitting.gaps.items():
        if point[:2] == (metric, axis) and subject in group.names.index:
            reasons.setdefault(why or "no reason was recorded", {}).setdefault(subject, []).append(
                point[2]
            )
    said = []
    for why, of in reasons.items():
        alike: dict[str, list[str]] = {}
        for subject, places in of.items():
            some = any(
                (subject, (metric, axis, place)) in sitting.points
                for place in sitting.places(metric, axis)
            )
            where = (
                f"at {join_words([f'{place:,g}' for place in sorted(places)])}"
                if some
                else "everywhere"
            )
            alike.setdefault(where, []).append(group.label(subject))
        said += [
            f"{join_words(sorted(who)) if len(who) < len(group.names) else 'all'} {at}: {why}"
            for at, who in alike.items()
        ]
    return f"Gaps: {'; '.join(said)}." if said else ""


def curve_points(group: SpeedGroup, metric: str, axis: str) -> pd.DataFrame:
    """The points of the group's curves: subject, short, colour, place, value, low, high; a gap has no value."""
    sitting, rows = group.session, []
    for name in each(group.names):
        subject = str(name.Index)
        first = [(1.0, _once(group, subject, metric))] if axis == "batch" else []
        places = [
            (place, sitting.points.get((subject, (metric, axis, place))))
            for place in sitting.places(metric, axis)
        ]
        for place, found in [*first, *places]:
            value, low, high = found[:3] if found else (np.nan, np.nan, np.nan)
            rows.append((subject, name.short, name.colour, place, value, low, high))
    table = pd.DataFrame(
        rows, columns=["subject", "short", "colour", "place", "value", "low", "high"]
    )
    return table[table["value"].isna() | (table["value"] > 0)]


def _once(group: SpeedGroup, subject: str, metric: str) -> tuple[float, float, float]:
    value = group.session.value(subject, metric)
    return value, np.nan, np.nan


def curve(
    group: SpeedGroup,
    table: pd.DataFrame,
    pairs: Sequence[SpeedPair],
    across: str,
    up: str,
    unit: str,
    missing: str,
) -> Figure:
    """A line an architecture, broken where a point is missing; bands of the intervals; rings where two change places."""
    filled = table.dropna(subset=["value"])
    if filled.empty or filled.groupby("subject").size().max() < 2:
        raise EmptyPlot(missing)
    figure, axes = drawing.canvas(max(drawing.HEIGHT, 0.17 * filled["subject"].nunique() + 0.7))
    ends = []
    for _, line in table[table["subject"].isin(filled["subject"])].groupby("subject", sort=False):
        tint, style = (
            drawing.colour(int(line["colour"].iloc[0])),
            drawing.dash(int(line["colour"].iloc[0])),
        )
        axes.plot(
            line["place"],
            line["value"],
            color=tint,
            marker="o",
            markersize=4,
            markeredgecolor=drawing.PAPER,
            dashes=style,
        )
        axes.fill_between(
            line["place"], line["low"], line["high"], color=tint, alpha=0.16, linewidth=0
        )
        last = line.dropna(subset=["value"]).iloc[-1]
        ends.append((float(last["place"]), float(last["value"]), str(last["short"]), tint))
    drawing.doubling(axes, sorted(filled["place"].unique()))
    _upright(axes, filled, unit)
    for x, y in _rings(group, pairs):
        axes.plot(
            [x],
            [y],
            marker="o",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=drawing.INK,
            markeredgewidth=0.9,
        )
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    label_margin(axes, ends)
    return figure


def _upright(axes: Axes, table: pd.DataFrame, unit: str) -> None:
    """The axis of y: from nothing, or by logarithms where the values span much."""
    low, high = table["value"].min(), table["value"].max()
    if high > SPANS * low:
        drawing.logarithmic(axes, low / 1.25, high * 1.25, unit, upright=True)
        return
    axes.set_ylim(0, max(high, table["high"].max()) * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(drawing.engineering(unit))


def _rings(group: SpeedGroup, pairs: Sequence[SpeedPair]) -> Iterator[tuple[float, float]]:
    """Where two curves cross: the length that was read off, at the middle of the two there."""
    for pair in pairs:
        for crossing in pair.crossings:
            levels = [
                _level(group, subject, pair, crossing) for subject in (pair.first, pair.second)
            ]
            yield crossing.length, float(np.exp(np.mean(np.log(levels))))


def _level(group: SpeedGroup, subject: str, pair: SpeedPair, crossing: SpeedCrossing) -> float:
    """The value of a curve between its measured points, on the line through their logarithms."""
    lengths = [length for length in pair.lengths if crossing.low <= length <= crossing.high]
    values = [group.session.at(subject, (pair.metric, "length", length)) for length in lengths]
    return exp(float(np.interp(log(crossing.length), np.log(lengths), np.log(values))))


def memory(group: SpeedGroup) -> Figure:
    """The peak of memory over one training step, in its parts; a bar an architecture, a tick where the allocator's peak is."""
    medians, names = group.session.medians, group.names
    columns = {part: f"memory_{part}_bytes" for part in PARTS if f"memory_{part}_bytes" in medians}
    table = medians.reindex(names.index)[list(columns.values())].dropna(how="all").fillna(0.0) / 1e6
    if not columns or table.empty:
        raise EmptyPlot("no memory was measured by parts")
    table = table.loc[table.sum(axis=1).sort_values(ascending=False).index]
    figure, axes = drawing.canvas(0.23 * len(table) + 1.0)
    bars, left = range(len(table)), np.zeros(len(table))
    tints = [drawing.colour(int(number)) for number in names.loc[table.index, "colour"]]
    for (part, column), shade in zip(
        columns.items(), np.linspace(1.0, 0.22, len(columns)), strict=True
    ):
        axes.barh(
            bars, table[column], left=left, color=drawing.PAPER, height=0.72
        )  # so that no grid shines through
        axes.barh(
            bars,
            table[column],
            left=left,
            color=tints,
            alpha=shade,
            height=0.72,
            edgecolor=drawing.PAPER,
            linewidth=0.6,
        )
        axes.barh([0], [0], color=drawing.FAINT, alpha=shade, label=part)
        left += table[column].to_numpy()
    peaks = [
        group.session.value(str(subject), "memory_allocator_peak_bytes") / 1e6
        for subject in table.index
    ]
    axes.plot(
        peaks,
        bars,
        linestyle="none",
        marker="|",
        markersize=11,
        color=drawing.INK,
        markeredgewidth=1.2,
    )
    axes.set_yticks(bars, list(names.loc[table.index, "short"]))
    axes.set_xlabel("MB at the peak of a training step")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=len(columns), handlelength=0.9, handletextpad=0.35,
        columnspacing=0.9, borderpad=0, fontsize=drawing.FONT - 1,
    )  # fmt: skip
    return figure
