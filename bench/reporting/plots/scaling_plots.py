"""Plots of scaling: loss against data, size and FLOPs; points are measured, lines are laws."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.formatting import format_large
from bench.analysis.scaling import AXIS_COLUMNS, MAX_MISFIT, ScalingSeries, ScalingStudy
from bench.reporting.plots.base import (
    MAX_NAMED,
    Draw,
    EmptyPlot,
    Plot,
    colour,
    draw_levels,
    make_plot,
    set_log,
)
from bench.reporting.plots.labels import Label
from bench.stats.pareto import pareto_front
from bench.stats.scaling_laws import DATA, FLOPS, SIZE

EXTRAPOLATION = 4.0  # a law that fits is drawn up to so many times the largest measured value
ABOUT_LAWS = "Points: means over seeds. Lines: the law; dashed where extrapolated, if it fits."
ABOUT_FLOPS = (
    "A point is a size with an amount of data. Lines: the points of each architecture that no "
    "other of its own beats in both."
)


def scaling_plots(study: ScalingStudy) -> list[Plot]:
    """Return the plots against data, against size and against FLOPs."""
    data, size = partial(_draw_law, study, DATA), partial(_draw_law, study, SIZE)
    flops = partial(_draw_flops, study)
    specs: tuple[tuple[str, str, str, Draw], ...] = (
        ("data", "Loss against data", f"At the largest size of each. {ABOUT_LAWS}", data),
        ("size", "Loss against size", f"After the most data of each. {ABOUT_LAWS}", size),
        ("flops", "Loss against training FLOPs", ABOUT_FLOPS, flops),
    )
    return [
        make_plot(f"{study.name}-{key}", title, caption, draw)
        for key, title, caption, draw in specs
    ]


def _draw_law(study: ScalingStudy, axis: str, axes: Axes) -> list[Label]:
    series = study.series[:MAX_NAMED]
    drawn = [_draw_series(one, axis, axes) for one in series]
    low, high = min(low for low, _ in drawn), max(label[0] for _, label in drawn)
    if low >= high:
        raise EmptyPlot("there is only one value along it")
    label = "training tokens" if axis == DATA else "parameters"
    return _finish(study, axes, (low, high), label, [label for _, label in drawn])


def _draw_series(one: ScalingSeries, axis: str, axes: Axes) -> tuple[float, Label]:
    """Draw the points and the law of one architecture; return its smallest x and its label."""
    other = "tokens_seen" if axis == SIZE else "budget"
    rows = one.cells[one.cells[other] == one.cells[other].max()].sort_values(AXIS_COLUMNS[axis])
    x, tint = rows[AXIS_COLUMNS[axis]].to_numpy(dtype=float), colour(one.colour)
    axes.scatter(x, rows["loss"], s=22, color=tint, zorder=3)
    end = (float(x[-1]), float(rows["loss"].iloc[-1]))
    if one.law is not None:
        end = _draw_curve(one, axis, rows, axes) or end
    return float(x.min()), (*end, one.label, tint)


def _draw_curve(
    one: ScalingSeries, axis: str, rows: pd.DataFrame, axes: Axes
) -> tuple[float, float] | None:
    """Draw a law; return the end of its extrapolation, if it fits."""
    x, tint = rows[AXIS_COLUMNS[axis]].to_numpy(dtype=float), colour(one.colour)
    assert one.law is not None
    held = float(rows["tokens_seen" if axis == SIZE else "parameters"].mean())
    inside = np.geomspace(x.min(), x.max(), 40)
    axes.plot(inside, one.law.along(axis, inside, held)[0], color=tint)
    if one.law.spread <= MAX_MISFIT:
        beyond = np.geomspace(x.max(), x.max() * EXTRAPOLATION, 20)
        losses = one.law.along(axis, beyond, held)[0]
        axes.plot(beyond, losses, color=tint, linestyle=(0, (3, 2)), linewidth=1.1)
        return float(beyond[-1]), float(losses[-1])
    return None


def _draw_flops(study: ScalingStudy, axes: Axes) -> list[Label]:
    series = [one for one in study.series[:MAX_NAMED] if one.cells["flops"].notna().all()]
    if not series:
        raise EmptyPlot("these records do not hold the FLOPs per token")
    labels = [_draw_front(one, axes) for one in series]
    flops = pd.concat([one.cells["flops"] for one in series])
    span = float(flops.min()), float(flops.max())
    return _finish(study, axes, span, "FLOPs of training, by formula", labels)


def _draw_front(one: ScalingSeries, axes: Axes) -> Label:
    """Draw the points of an architecture and a line along the best; return the label of its end."""
    x, y = (one.cells[name].to_numpy(dtype=float) for name in (AXIS_COLUMNS[FLOPS], "loss"))
    tint = colour(one.colour)
    axes.scatter(x, y, s=14, color=tint, alpha=0.6, zorder=2)
    front = one.cells[pareto_front(x, y)].sort_values("flops")
    axes.plot(front["flops"], front["loss"], color=tint)
    last = front.iloc[-1]
    return float(last["flops"]), float(last["loss"]), one.label, tint


def _finish(
    study: ScalingStudy,
    axes: Axes,
    span: tuple[float, float],
    label: str,
    labels: Sequence[Label],
) -> list[Label]:
    """Set the axes, and add the known optimum to the labels."""
    set_log(axes, span[0] / 1.15, span[1] * 1.15)
    bottom, top = axes.get_ylim()
    set_log(axes, max(bottom, 1e-3), top, axis="y")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(label)
    axes.set_ylabel(study.unit)
    if study.floor is None or study.floor <= bottom:
        return list(labels)
    return [*labels, *draw_levels(axes, [(f"optimum, {format_large(study.floor)}", study.floor)])]
