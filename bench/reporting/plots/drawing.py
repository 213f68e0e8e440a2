"""How every figure looks: one style, colours by name, labels that keep off the data, SVG that follows the page's colours."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullLocator

from bench.analysis.families import PALETTE

WIDTH, HEIGHT = 4.9, 3.4  # inches: at the width of a phone the letters are still 9 pixels high
FONT = 9.5
INK, FAINT, RULE, PAPER = (
    "#010203",
    "#010204",
    "#010205",
    "#010206",
)  # stand-ins that `svg` turns into the page's colours
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 2), (1, 1.5), (5, 1.5, 1, 1.5))
MARKERS = "osD^vPX*"

STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "report", "font.size": FONT, "font.family": "sans-serif", "text.color": INK,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK,
    "ytick.labelcolor": INK, "axes.facecolor": "none", "figure.facecolor": "none", "grid.color": RULE, "grid.linewidth": 0.6,
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.labelsize": FONT, "xtick.labelsize": FONT - 0.5, "ytick.labelsize": FONT - 0.5, "legend.frameon": False,
    "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.minor.width": 0.5, "ytick.minor.width": 0.5,
    "axes.formatter.useoffset": False, "text.parse_math": False, "axes.unicode_minus": True, "lines.linewidth": 1.6,
}  # fmt: skip


def colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def dash(number: int) -> tuple[float, ...]:
    """Dashes change with the shade, so that within a family no two lines differ by their shade alone."""
    return DASHES[(number + number // len(PALETTE)) % len(DASHES)]


def marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def canvas(height: float = HEIGHT, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def freeze(figure: Figure) -> None:
    """Lay out once and for all: places can be read off, and drawing does not lay out again."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)  # a whole drawing for the layout's sake would take as long once more
        figure.set_layout_engine(None)


def svg(figure: Figure, name: str, description: str) -> str:
    """The figure as inline SVG: ids of its own, no outside names, ink and rules in the page's colours."""
    freeze(figure)
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    for stand_in, real in (
        (INK, "currentColor"),
        (FAINT, "var(--faint)"),
        (RULE, "var(--rule)"),
        (PAPER, "var(--paper)"),
    ):
        text = text.replace(stand_in, real)
    for number, code in enumerate(PALETTE):
        text = text.replace(code, f"var(--s{number})")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{description}">',
        text,
        count=1,
    )
    return re.sub(r"\n\s*", "\n", text)


def engineering(unit: str = "") -> EngFormatter:
    """Numbers on an axis as people read them: 20 k, 3 ms."""
    return EngFormatter(unit=unit, sep=" ")


def logarithmic(axes: Axes, low: float, high: float, unit: str = "", upright: bool = False) -> None:
    """A logarithmic axis from low to high with three to eight readable ticks, whatever it spans. `upright`: the one of y."""
    axis = axes.yaxis if upright else axes.xaxis
    (axes.set_yscale if upright else axes.set_xscale)("log")
    (axes.set_ylim if upright else axes.set_xlim)(low, high)
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [tick for tick in np.outer(decades, steps).ravel() if low <= tick <= high]
        if 3 <= len(ticks) <= 8:
            break
    else:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        "{x:,g}" if unit == "s" and low >= 0.1 else engineering(unit)
    )  # no kiloseconds, but milliseconds


def doubling(axes: Axes, places: Sequence[float]) -> None:
    """An axis of x whose steps are doublings, with ticks at the given places: at every second or third where they are many."""
    axes.set_xscale("log", base=2)
    ticks = list(places)[:: 1 + (len(places) - 1) // 6]
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
