"""Plots of a speed group: curves over length and batch, and bars of memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import exp, log
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis.crossovers import SpeedPair
from bench.analysis.formatting import join_words
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.plots.base import (
    FAINT,
    INK,
    PAPER,
    EmptyPlot,
    Plot,
    colour,
    draw_lines,
    draw_rings,
    make_plot,
    set_doubling,
    set_from_zero,
    set_log,
    write_legend,
)
from bench.reporting.plots.labels import Label

MAX_LINES = 30  # architectures in one plot
MAX_LINEAR_RANGE = 8.0  # times the smallest value: beyond it the axis is logarithmic
MEMORY_PARTS = ("parameters", "gradients", "optimizer", "activations", "temporary")


class CurveSpec(NamedTuple):
    """A curve: a metric along an axis, its texts, and the reason where there is none."""

    metric: str
    axis: str
    title: str
    label: str
    unit: str
    about: str
    missing: str


CURVES = (
    CurveSpec("train_tokens_per_second", "length", "Training speed over length",
              "training tokens per second", "",
              "Models are built for each length at the same width; tokens per step stay similar.",
              "training was not measured at two lengths"),
    CurveSpec("first_token_seconds", "length", "Time to the first token over length",
              "seconds to the first token", "s",
              "One prompt of that length is read, and a token chosen.",
              "no first token was timed at two lengths"),
    CurveSpec("decode_seconds_per_token", "length", "Time of a further token over length",
              "seconds of a further token", "s",
              "One sequence, from a state that already holds that many tokens.",
              "no decoding time was measured at two lengths"),
    CurveSpec("decode_tokens_per_second", "batch", "Decoding speed over batch",
              "decoded tokens per second", "", "All sequences of a batch at once.",
              "decoding was not measured at two batches"),
)  # fmt: skip
AXIS_LABELS = {"length": "tokens of context", "batch": "sequences at once"}


def speed_plots(group: SpeedGroup) -> list[Plot]:
    """Return every plot of a group; those without numbers say why."""
    return [*(_curve_plot(group, spec) for spec in CURVES), _memory_plot(group)]


def limit_group(group: SpeedGroup) -> SpeedGroup:
    """Return the group, or of a very large one the reference and the first by name."""
    if len(group.names) <= MAX_LINES:
        return group
    reference = group.session.reference
    names = sorted(group.subjects, key=lambda one: (one != reference, group.label(one)))
    return replace(group, names=group.names.loc[names[:MAX_LINES]])


def _only_some(group: SpeedGroup, shown: SpeedGroup) -> str:
    some = len(shown.names) < len(group.names)
    return f"Drawn: {len(shown.names)} of {len(group.names)} architectures." if some else ""


# --- curves ------------------------------------------------------------------


def _curve_plot(group: SpeedGroup, spec: CurveSpec) -> Plot:
    shown = limit_group(group)
    claimed = spec.axis == "length" and group.session.allows_claim(spec.metric)
    pairs = [
        pair
        for pair in group.pairs
        if claimed and pair.metric == spec.metric and {pair.first, pair.second} <= {*shown.subjects}
    ]
    crossing = any(pair.crossings for pair in pairs)
    parts = (
        f"{spec.about} Bands: 95 % intervals of the medians.",
        "Rings: crossings of paired samples." if crossing else "",
        _only_some(group, shown),
        _gap_text(shown, spec),
    )
    table = curve_points(shown, spec.metric, spec.axis)
    name = f"{group.name}-{spec.metric}-{spec.axis}"
    draw = partial(_draw_curve, table, list(_rings(group, pairs)), spec)
    return make_plot(name, spec.title, " ".join(filter(None, parts)), draw)


def curve_points(group: SpeedGroup, metric: str, axis: str) -> pd.DataFrame:
    """Return the points of curves: subject, short, colour, x, y, low, high; NaN for gaps."""
    session, rows = group.session, []
    for subject, name in group.names.iterrows():
        points = [
            (x, session.points.get((str(subject), (metric, axis, x))))
            for x in session.places(metric, axis)
        ]
        values = [(x, *point[:3]) if point else (x, *[np.nan] * 3) for x, point in points]
        if axis == "batch":
            values.insert(0, (1.0, session.value(str(subject), metric), np.nan, np.nan))
        rows += [(subject, name["short"], name["colour"], *value) for value in values]
    columns = ["subject", "short", "colour", "x", "y", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table[table["y"].isna() | (table["y"] > 0)]


def _draw_curve(
    table: pd.DataFrame, rings: Sequence[tuple[float, float]], spec: CurveSpec, axes: Axes
) -> list[Label]:
    filled = table.dropna(subset=["y"])
    if filled.empty or filled.groupby("subject").size().max() < 2:
        raise EmptyPlot(spec.missing)
    table = table[table["subject"].isin(filled["subject"])]
    labels = draw_lines(axes, table, marker="o", markersize=4, markeredgecolor=PAPER)
    set_doubling(axes, sorted(filled["x"].unique()))
    low, high = filled["y"].min(), filled["y"].max()
    if high > MAX_LINEAR_RANGE * low:
        set_log(axes, low / 1.25, high * 1.25, spec.unit, axis="y")
    else:
        set_from_zero(axes, max(high, filled["high"].max()), spec.unit)
    draw_rings(axes, rings)
    axes.set_xlabel(AXIS_LABELS[spec.axis])
    axes.set_ylabel(spec.label)
    return labels


def _rings(group: SpeedGroup, pairs: Sequence[SpeedPair]) -> Iterator[tuple[float, float]]:
    """Yield where two curves cross: the interpolated length, and the mean of the curves there."""
    for pair in pairs:
        for crossing in pair.crossings:
            lengths = [n for n in pair.lengths if crossing.low <= n <= crossing.high]
            levels = [
                np.log([group.session.at(one, (pair.metric, "length", n)) for n in lengths])
                for one in (pair.first, pair.second)
            ]
            middle = np.mean([np.interp(log(crossing.length), np.log(lengths), y) for y in levels])
            yield crossing.length, exp(float(middle))


def _gap_text(group: SpeedGroup, spec: CurveSpec) -> str:
    """Return where curves have gaps, and why."""
    session, (metric, axis) = group.session, spec[:2]
    gaps: dict[tuple[str, str], list[float]] = {}  # reason and subject: points
    for (subject, point), reason in session.gaps.items():
        if point[:2] == (metric, axis) and subject in group.names.index:
            gaps.setdefault((reason or "no reason was recorded", subject), []).append(point[2])
    labels = _label_gaps(group, spec, gaps)
    texts = [
        f"{join_words(sorted(names)) if len(names) < len(group.names) else 'all'} {place}: {reason}"
        for (reason, place), names in labels.items()
    ]
    return f"Gaps: {'; '.join(texts)}." if texts else ""


def _label_gaps(
    group: SpeedGroup, spec: CurveSpec, gaps: dict[tuple[str, str], list[float]]
) -> dict[tuple[str, str], list[str]]:
    """Return the labels by reason and place; everywhere where a curve has no point at all."""
    session, (metric, axis) = group.session, spec[:2]
    labels: dict[tuple[str, str], list[str]] = {}
    for (reason, subject), places in gaps.items():
        points = [(subject, (metric, axis, x)) for x in session.places(metric, axis)]
        numbers = join_words([f"{x:,g}" for x in sorted(places)])
        place = f"at {numbers}" if any(one in session.points for one in points) else "everywhere"
        labels.setdefault((reason, place), []).append(group.label(subject))
    return labels


# --- memory ------------------------------------------------------------------


def _memory_plot(group: SpeedGroup) -> Plot:
    shown = limit_group(group)
    tick = "The tick is the allocator's peak, with the buffers inside operators."
    parts = (
        "Live tensor storage at the peak of one training step, by what it holds.",
        tick if "memory_allocator_peak_bytes" in group.session.medians else "",
        _only_some(group, shown),
    )
    draw = partial(_draw_memory, shown)
    caption = " ".join(filter(None, parts))
    return make_plot(f"{group.name}-bars", "Memory of a training step", caption, draw)


def _memory_parts(group: SpeedGroup) -> pd.DataFrame:
    """Return (subjects, parts) megabytes at the peak, the largest first."""
    columns = {f"memory_{part}_bytes": part for part in MEMORY_PARTS}
    table = group.session.medians.reindex(index=group.names.index, columns=list(columns))
    table = (
        table.rename(columns=columns).dropna(axis=1, how="all").dropna(how="all").fillna(0.0) / 1e6
    )
    if table.empty:
        raise EmptyPlot("no memory was measured by parts")
    return table.loc[table.sum(axis=1).sort_values(ascending=False).index]


def _draw_memory(group: SpeedGroup, axes: Axes) -> list[Label]:
    table, figure = _memory_parts(group), axes.figure
    figure.set_figheight(0.23 * len(table) + 1.0)  # type: ignore[union-attr]
    bars = np.arange(len(table))
    tints = [colour(int(number)) for number in group.names.loc[table.index, "colour"]]
    _draw_bars(table, tints, axes)
    peaks = [
        group.session.value(str(one), "memory_allocator_peak_bytes") / 1e6 for one in table.index
    ]
    axes.plot(peaks, bars, "|", markersize=11, color=INK, markeredgewidth=1.2)
    axes.set_yticks(bars, list(group.names.loc[table.index, "short"]))
    axes.set_xlabel("MB at the peak of a training step")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    write_legend(axes, table.shape[1])
    return []


def _draw_bars(table: pd.DataFrame, tints: Sequence[str], axes: Axes) -> None:
    """Draw a bar per row, its parts in paler and paler shades of the row's colour."""
    bars, left = np.arange(len(table)), np.zeros(len(table))
    shades = np.linspace(1.0, 0.22, table.shape[1])
    for part, shade in zip(table, shades, strict=True):
        axes.barh(bars, table[part], left=left, color=PAPER, height=0.72)  # hides the grid
        style = {"alpha": shade, "height": 0.72, "edgecolor": PAPER, "linewidth": 0.6}
        axes.barh(bars, table[part], left=left, color=tints, **style)
        axes.barh([0], [0], color=FAINT, alpha=shade, label=part)
        left += table[part].to_numpy()
