"""Figures of scaling: loss against data, size and FLOPs, measured cells as points and laws as lines."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.formatting import format_large
from bench.analysis.scaling import AXIS_COLUMNS, ScalingSeries, ScalingStudy
from bench.reporting.plots import drawing
from bench.reporting.plots.figures import EmptyPlot, Plot, make_plot
from bench.reporting.plots.lettering import label_margin
from bench.reporting.sections.scaling_tables import MISFIT
from bench.stats.intervals import pareto_front
from bench.stats.scaling_laws import DATA, FLOPS, SIZE

FURTHER = 4.0  # so many times beyond the largest measured value a law that fits is drawn on
NAMED = 24  # architectures that a figure can name


def scaling_plots(scale: ScalingStudy) -> list[Plot]:
    """Against data at the largest size, against size with the most data, against FLOPs."""
    law = "Points: measured, means over seeds. Lines: the law; dashed where it is extrapolated, where it fits."
    return [
        make_plot(
            f"{scale.name}-data",
            "The larger the dataset",
            f"At the largest size of each. {law}",
            partial(_law, scale, DATA),
        ),
        make_plot(
            f"{scale.name}-size",
            "The larger the model",
            f"After the most data of each. {law}",
            partial(_law, scale, SIZE),
        ),
        make_plot(
            f"{scale.name}-flops",
            "Loss against training FLOPs",
            "A point is a cell: a size and an amount of data. "
            "Lines: the cells of each architecture that no other of its own beats in both.",
            partial(_flops, scale),
        ),
    ]


def _law(scale: ScalingStudy, axis: str) -> Figure:
    figure, axes = drawing.canvas()
    ends: list[tuple[float, float, str, str]] = []
    lows, highs = list[float](), list[float]()
    for series in scale.series[:NAMED]:
        rows = _edge(series, axis)
        x = rows[AXIS_COLUMNS[axis]].to_numpy(dtype=float)
        tint = drawing.colour(series.colour)
        axes.scatter(x, rows["loss"], s=22, color=tint, zorder=3)
        lows, highs = [*lows, x.min()], [*highs, x.max()]
        last = (float(x[-1]), float(rows["loss"].iloc[-1]))
        if series.law is not None:
            held = float(rows["tokens_seen" if axis == SIZE else "parameters"].mean())
            inside = np.geomspace(x.min(), x.max(), 40)
            axes.plot(inside, series.law.along(axis, inside, held)[0], color=tint)
            if series.law.spread <= MISFIT:
                beyond = np.geomspace(x.max(), x.max() * FURTHER, 20)
                heights = series.law.along(axis, beyond, held)[0]
                axes.plot(beyond, heights, color=tint, linestyle=(0, (3, 2)), linewidth=1.1)
                last, highs = (float(beyond[-1]), float(heights[-1])), [*highs, beyond[-1]]
        ends.append((*last, series.label, tint))
    if min(lows) >= max(highs):
        raise EmptyPlot("there is but one value along it")
    _dress(
        scale,
        axes,
        min(lows),
        max(highs),
        "training tokens" if axis == DATA else "parameters",
        ends,
    )
    return figure


def _edge(series: ScalingSeries, axis: str) -> pd.DataFrame:
    """The cells along one axis at the far end of the other."""
    other = "tokens_seen" if axis == SIZE else "budget"
    return series.cells[series.cells[other] == series.cells[other].max()].sort_values(
        AXIS_COLUMNS[axis]
    )


def _flops(scale: ScalingStudy) -> Figure:
    figure, axes = drawing.canvas()
    ends: list[tuple[float, float, str, str]] = []
    known = [one for one in scale.series[:NAMED] if one.cells["flops"].notna().all()]
    if not known:
        raise EmptyPlot("these records do not hold the FLOPs of a token")
    for series in known:
        x, y = (series.cells[name].to_numpy(dtype=float) for name in (AXIS_COLUMNS[FLOPS], "loss"))
        tint = drawing.colour(series.colour)
        axes.scatter(x, y, s=14, color=tint, alpha=0.6, zorder=2)
        front = series.cells[pareto_front(x, y)].sort_values("flops")
        axes.plot(front["flops"], front["loss"], color=tint)
        ends.append(
            (float(front["flops"].iloc[-1]), float(front["loss"].iloc[-1]), series.label, tint)
        )
    every = pd.concat([one.cells["flops"] for one in known])
    _dress(
        scale, axes, float(every.min()), float(every.max()), "FLOPs of training, by formula", ends
    )
    return figure


def _dress(
    scale: ScalingStudy,
    axes: Axes,
    low: float,
    high: float,
    label: str,
    ends: Sequence[tuple[float, float, str, str]],
) -> None:
    drawing.logarithmic(axes, low / 1.15, high * 1.15)
    bottom, top = axes.get_ylim()
    drawing.logarithmic(axes, max(bottom, 1e-3), top, upright=True)
    axes.yaxis.set_major_formatter("{x:g}")
    if scale.floor is not None and scale.floor > bottom:
        axes.axhline(
            scale.floor, color=drawing.FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1
        )
        ends = [*ends, (high, scale.floor, f"the oracle, {format_large(scale.floor)}", drawing.INK)]
    axes.set_xlabel(label)
    axes.set_ylabel(scale.unit)
    label_margin(axes, list(ends))
