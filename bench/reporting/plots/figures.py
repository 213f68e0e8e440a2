"""The figures: each from tables alone, and each left out with its reason where it would be empty."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from bench.analysis.comparisons import Comparison
from bench.analysis.rows import each
from bench.reporting.plots import drawing
from bench.reporting.plots.lettering import NoRoomForLabel, label_margin, label_points
from bench.stats.intervals import pareto_front


class EmptyPlot(Exception):
    """The message is why there is no such figure."""


@dataclass(frozen=True)
class Plot:
    """One figure of the page: SVG, or the reason why there is none."""

    name: str
    title: str
    caption: str
    svg: str = ""
    reason: str = ""


def make_plot(name: str, title: str, caption: str, make: Callable[[], Figure]) -> Plot:
    """Draw, in the one style; an Empty becomes the reason."""
    with mpl.rc_context(drawing.STYLE):
        try:
            return Plot(
                name, title, caption, svg=drawing.svg(make(), name, escape(title, quote=True))
            )
        except EmptyPlot as why:
            return Plot(name, title, caption, reason=str(why))


def curve_table(
    comparison: Comparison, curves: pd.DataFrame, objective: str, tokenizer: str
) -> pd.DataFrame:
    """Held-out loss of the finished runs of one objective and tokenizer, with the names that figures use."""
    runs = comparison.runs[
        (comparison.runs["objective"] == objective) & (comparison.runs["tokenizer"] == tokenizer)
    ]
    runs = runs[~runs["control"]]
    named = runs[["run", "row"]].join(comparison.rows[["short", "colour", "subject"]], on="row")
    table = (
        curves[["run", "step", "tokens", "validation_nats"]]
        .merge(named, on="run")
        .dropna(subset=["validation_nats"])
    )
    return table.astype({"tokens": float, "validation_nats": float})


Lines = Sequence[tuple[str, float]]  # reference lines of a figure: names and heights


def curves(
    table: pd.DataFrame, per_second: "pd.Series[float] | None" = None, lines: Lines = ()
) -> Figure:
    """Held-out loss against tokens, or against seconds where the measured tokens per second of each subject are given."""
    if per_second is not None:
        table = table.assign(
            x=table["tokens"] / table["subject"].map(per_second).to_numpy(dtype=float)
        ).dropna(subset=["x"])
    else:
        table = table.assign(x=table["tokens"])
    if table.empty:
        raise EmptyPlot(
            "no held-out loss was logged"
            if per_second is None
            else "no training rate was measured for these rows"
        )
    names = table.drop_duplicates("short").set_index("short")["colour"].sort_index()
    figure, axes = drawing.canvas(max(drawing.HEIGHT, 0.17 * (len(names) + len(lines)) + 0.7))
    palette = {name: drawing.colour(number) for name, number in names.items()}
    means = (
        table.groupby(["short", "x"])["validation_nats"].agg(["mean", "min", "max"]).reset_index()
    )
    for name, rows in means.groupby("short"):
        dashes = drawing.dash(int(names[name]))
        axes.plot(
            rows["x"], rows["mean"], color=palette[name], linestyle=(0, dashes) if dashes else "-"
        )
        axes.fill_between(
            rows["x"], rows["min"], rows["max"], color=palette[name], alpha=0.18, linewidth=0
        )
    low, top = frame(table, lines)
    axes.set_ylim(low - 0.06 * (top - low) - 1e-9, top + 0.06 * (top - low) + 1e-9)
    axes.set_ylabel("held-out loss (nats per token)")
    ends = means.loc[means.groupby("short")["x"].idxmax()]
    points = [(r.x, r.mean, str(r.short), palette[str(r.short)]) for r in each(ends)]
    axes.scatter(
        [p[0] for p in points], [p[1] for p in points], s=12, color=[p[3] for p in points], zorder=3
    )
    if per_second is None:
        axes.set_xlabel("training tokens")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.set_xlabel("seconds of training = tokens / measured rate")
        seen = table[table["validation_nats"] <= axes.get_ylim()[1]]
        drawing.logarithmic(axes, seen["x"].min() / 1.1, seen["x"].max() * 1.05, "s")
    label_margin(axes, points + _references(axes, lines))
    return figure


def frame(table: pd.DataFrame, lines: Lines = ()) -> tuple[float, float]:
    """The lowest and the highest loss that a figure of curves shows: without the steep beginning."""
    late = table[table["tokens"] >= 0.35 * table["tokens"].max()]["validation_nats"]
    shown = late if len(late) else table["validation_nats"]
    heights = [height for _, height in lines]
    return min([table["validation_nats"].min(), *heights]), max([shown.max(), *heights])


def _references(axes: Axes, lines: Lines) -> list[tuple[float, float, str, str]]:
    """Draw the reference lines; returns the points at their right ends that want a name."""
    for _, height in lines:
        axes.axhline(height, color=drawing.FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    return [(axes.get_xlim()[1], height, name, drawing.INK) for name, height in lines]


def tradeoff(
    rows: pd.DataFrame,
    cost: "pd.Series[float]",
    label: str,
    more_is_better: bool,
    unit: str,
    lines: Lines = (),
    margin: bool = False,
) -> Figure:
    """Bits per byte against a measured cost, with the line through the points that nothing else beats in both."""
    table = rows.assign(x=cost.reindex(rows["subject"]).to_numpy(dtype=float)).dropna(
        subset=["x", "bits_per_byte"]
    )
    table = table[table["x"] > 0].sort_values("bits_per_byte")
    if len(table) < 2:
        raise EmptyPlot("fewer than two rows have both numbers from one sitting")
    if table["x"].max() <= table["x"].min() * 1.01:
        raise EmptyPlot("it is the same for all rows")
    figure, axes = drawing.canvas(
        max(drawing.HEIGHT, 0.17 * (len(table) + len(lines)) + 0.7) if margin else drawing.HEIGHT
    )
    palette = {
        name: drawing.colour(number)
        for name, number in zip(table["short"], table["colour"], strict=True)
    }
    ink = _front(axes, table, more_is_better)
    for row in each(table[table["bits_per_byte_low"].notna()]):
        span = np.linspace(row.bits_per_byte_low, row.bits_per_byte_high, 20)
        axes.plot(
            [row.x, row.x], [span[0], span[-1]], color=palette[row.short], linewidth=1, alpha=0.55
        )
        ink += [(row.x, level) for level in span]
    tints = [palette[name] for name in table["short"]]
    axes.scatter(
        table["x"],
        table["bits_per_byte"],
        c=tints,
        s=42,
        edgecolors=drawing.PAPER,
        linewidths=0.8,
        zorder=2,
    )
    room = (table["x"].max() / table["x"].min()) ** 0.12
    drawing.logarithmic(axes, table["x"].min() / room, table["x"].max() * room, unit)
    axes.margins(y=0.12)
    axes.set_xlabel(label)
    axes.set_ylabel("bits per byte (lower is better)")
    points = [(r.x, r.bits_per_byte, str(r.short), palette[str(r.short)]) for r in each(table)]
    named = _references(axes, lines)
    if margin:
        label_margin(axes, points + named)
        return figure
    label_margin(axes, named)
    ink += [(x, height) for _, height in lines for x in np.geomspace(*axes.get_xlim(), 60)]
    try:
        label_points(axes, points, ink)
    except NoRoomForLabel:
        return tradeoff(rows, cost, label, more_is_better, unit, lines, margin=True)
    return figure


def scores(rows: pd.DataFrame, lines: Lines = ()) -> Figure:
    """Bits per byte of each row with its interval, the best on top, before the reference lines."""
    table = rows.sort_values("bits_per_byte", ascending=False)
    figure, axes = drawing.canvas(0.26 * len(table) + 0.9)
    places = np.arange(len(table))
    for place, row in zip(places, each(table), strict=True):
        tint = drawing.colour(row.colour)
        axes.plot(
            [row.bits_per_byte_low, row.bits_per_byte_high],
            [place, place],
            color=tint,
            linewidth=1.2,
            alpha=0.6,
        )
        axes.plot([row.bits_per_byte], [place], "o", color=tint, markersize=6)
    axes.set_yticks(places, list(table["short"]))
    axes.set_ylim(-0.7, len(table) - 0.3)
    axes.grid(axis="y", visible=False)
    for name, value in lines:
        axes.axvline(value, color=drawing.FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        at: dict[str, Any] = {
            "xycoords": axes.get_xaxis_transform(),
            "textcoords": "offset points",
            "rotation": 20,
        }
        axes.annotate(
            name, (value, 1), (2, 2), color=drawing.INK, fontsize=drawing.FONT - 1.5, **at
        )
    axes.set_xlabel("bits per byte (lower is better)")
    return figure


def _front(axes: Axes, table: pd.DataFrame, more_is_better: bool) -> list[tuple[float, float]]:
    """Draw the steps through the rows that no other beats in both; returns points along them."""
    cost = (-table["x"] if more_is_better else table["x"]).to_numpy(dtype=float)
    front = table[pareto_front(cost, table["bits_per_byte"].to_numpy(dtype=float))].sort_values("x")
    x, y = front["x"].to_numpy(dtype=float), front["bits_per_byte"].to_numpy(dtype=float)
    (line,) = axes.plot(x, y, color=drawing.FAINT, linewidth=1, zorder=1, linestyle=(0, (4, 2)))
    line.set_drawstyle("steps-pre" if more_is_better else "steps-post")
    ink: list[tuple[float, float]] = []
    for number in range(len(x) - 1):
        level, wall = (y[number + 1], x[number]) if more_is_better else (y[number], x[number + 1])
        ink += [(at, level) for at in np.geomspace(x[number], x[number + 1], 40)]
        ink += [(wall, at) for at in np.linspace(y[number], y[number + 1], 40)]
    return ink
