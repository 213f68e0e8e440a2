"""One type of plot, one style: axes, lines and labels, and SVG that follows the page's colours."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullLocator

from bench.analysis.families import PALETTE
from bench.reporting.plots.labels import FONT, Label, label_margin

WIDTH, HEIGHT = 4.9, 3.4  # inches: on a phone's width the letters are still 9 pixels high
MAX_NAMED = 24  # lines that a plot can label; of more rows it shows the best
# stand-ins that `_svg` turns into the page's colours
INK, FAINT, RULE, PAPER = "#010203", "#010204", "#010205", "#010206"
PAGE_COLOURS = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
}
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 2), (1, 1.5), (5, 1.5, 1, 1.5))
DOTTED: dict[str, Any] = {"color": FAINT, "linewidth": 0.9, "linestyle": (0, (1, 2)), "zorder": 1}
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "report", "font.size": FONT,
    "font.family": "sans-serif", "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.facecolor": "none", "figure.facecolor": "none", "grid.color": RULE, "grid.linewidth": 0.6,
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.7, "axes.labelsize": FONT, "xtick.labelsize": FONT - 0.5,
    "ytick.labelsize": FONT - 0.5, "legend.frameon": False, "xtick.major.width": 0.7,
    "ytick.major.width": 0.7, "axes.formatter.useoffset": False, "text.parse_math": False,
    "lines.linewidth": 1.6,
}  # fmt: skip


class EmptyPlot(Exception):
    """Say why there is nothing to draw."""


@dataclass(frozen=True)
class Plot:
    """A figure of the page: SVG, or the reason why there is none."""

    name: str
    title: str
    caption: str
    svg: str = ""
    reason: str = ""


Draw = Callable[[Axes], Sequence[Label]]


def make_plot(name: str, title: str, caption: str, draw: Draw) -> Plot:
    """Draw a plot and label it in the margin; an EmptyPlot becomes the reason.

    `draw` returns the points that are labelled; the plot is as high as the labels need.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        try:
            labels = draw(axes)
        except EmptyPlot as empty:
            return Plot(name, title, caption, reason=str(empty))
        figure.set_figheight(max(figure.get_figheight(), 0.17 * len(labels) + 0.7))
        label_margin(axes, labels)
        return Plot(name, title, caption, _svg(figure, name, title))


def _svg(figure: Figure, name: str, title: str) -> str:
    """Return inline SVG with ids of its own and the page's colours."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    shades = {code: f"var(--s{number})" for number, code in enumerate(PALETTE)}
    for code, colour_name in (PAGE_COLOURS | shades).items():
        text = text.replace(code, colour_name)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    head = f'<svg {box[0]} role="img" aria-label="{escape(title)}">'
    text = head + text[text.index(">") + 1 :]
    return re.sub(r"\n\s*", "\n", text)


# --- lines -------------------------------------------------------------------


def colour(number: int) -> str:
    """Return the colour of an architecture's number."""
    return PALETTE[number % len(PALETTE)]


def dash(number: int) -> tuple[float, ...]:
    """Return the dashes of a number: no two lines of a family differ by their shade alone."""
    return DASHES[(number + number // len(PALETTE)) % len(DASHES)]


def draw_lines(axes: Axes, table: pd.DataFrame, **style: Any) -> list[Label]:
    """Draw a line per `short` of the table; return the labels of the last points.

    `table`: short, colour, x, y, and low and high where it has bands. Lines are broken at NaN.
    """
    labels = []
    for short, line in table.groupby("short", sort=False):
        number = int(line["colour"].iloc[0])
        tint, dashes = colour(number), dash(number)
        axes.plot(
            line["x"], line["y"], color=tint, linestyle=(0, dashes) if dashes else "-", **style
        )
        if "low" in line:
            axes.fill_between(
                line["x"], line["low"], line["high"], color=tint, alpha=0.17, linewidth=0
            )
        last = line.dropna(subset=["y"]).iloc[-1]
        labels.append((float(last["x"]), float(last["y"]), str(short), tint))
    return labels


def draw_levels(axes: Axes, levels: Iterable[tuple[str, float]]) -> list[Label]:
    """Draw horizontal reference lines; return their labels. The limits of x have to be set."""
    labels = []
    for name, level in levels:
        axes.axhline(level, **DOTTED)
        labels.append((axes.get_xlim()[1], level, name, INK))
    return labels


def draw_points(axes: Axes, table: pd.DataFrame, size: float = 40) -> list[Label]:
    """Draw a point per row with its vertical interval; return the labels.

    `table`: short, colour, x, y, low, high.
    """
    tints = [colour(int(number)) for number in table["colour"]]
    axes.vlines(table["x"], table["low"], table["high"], colors=tints, linewidth=1, alpha=0.55)
    axes.scatter(
        table["x"], table["y"], c=tints, s=size, edgecolors=PAPER, linewidths=0.8, zorder=2
    )
    return list(zip(table["x"], table["y"], table["short"].astype(str), tints, strict=True))


def draw_rings(axes: Axes, points: Iterable[tuple[float, float]]) -> None:
    """Draw a ring around each point."""
    style: Any = {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.9}
    for x, y in points:
        axes.plot(x, y, "o", markersize=7, **style)


def write_legend(axes: Axes, columns: int) -> None:
    """Write a legend in columns above the frame."""
    axes.figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns,
        handlelength=0.9, handletextpad=0.35, columnspacing=0.9, borderpad=0, fontsize=FONT - 1,
    )  # fmt: skip


# --- axes --------------------------------------------------------------------


def pad_y(axes: Axes, low: float, high: float) -> None:
    """Set the limits of y with a little room beyond both ends."""
    room = 0.06 * (high - low) + 1e-9
    axes.set_ylim(low - room, high + room)


def set_log(axes: Axes, low: float, high: float, unit: str = "", axis: str = "x") -> None:
    """Set a logarithmic axis from low to high with three to eight readable ticks."""
    axes.set(**{f"{axis}scale": "log", f"{axis}lim": (low, high)})
    target = axes.yaxis if axis == "y" else axes.xaxis
    target.set_major_locator(FixedLocator(_log_ticks(low, high)))
    target.set_minor_locator(NullLocator())
    plain = unit == "s" and low >= 0.1  # no kiloseconds, but milliseconds
    target.set_major_formatter("{x:,g}" if plain else EngFormatter(unit, sep=" "))


def _log_ticks(low: float, high: float) -> list[float]:
    """Return three to eight readable ticks from low to high, where a pattern has so many."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [tick for tick in np.outer(decades, steps).ravel() if low <= tick <= high]
        if 3 <= len(ticks) <= 8:
            return ticks
    return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def set_from_zero(axes: Axes, high: float, unit: str) -> None:
    """Set y linear from 0 to a little above the highest value."""
    axes.set_ylim(0, high * 1.06)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(EngFormatter(unit, sep=" "))


def set_doubling(axes: Axes, places: Sequence[float]) -> None:
    """Set x to base 2 with ticks at the given places, at every second or third of many."""
    axes.set_xscale("log", base=2)
    ticks = list(places)[:: 1 + (len(places) - 1) // 6]
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
