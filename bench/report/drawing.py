"""How every figure looks: one style, colours by name, labels that keep off the data, SVG that follows the page's colours."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullLocator

WIDTH, HEIGHT = 4.9, 3.4  # inches: at the width of a phone the letters are still 9 pixels high
FONT = 9.5
INK, FAINT, RULE, PAPER = "#010203", "#010204", "#010205", "#010206"  # stand-ins that `svg` turns into the page's colours
PALETTE = ("#0a4a94", "#d55e00", "#009e73", "#b5479b", "#c98a00", "#1c9ad0", "#8c5a2b", "#6a5acd", "#d1495b", "#5f7d1f")
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


def marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def canvas(height: float = HEIGHT, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def freeze(figure: Figure) -> None:
    """Lay out once and for all: places can be read off, and drawing does not lay out again."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def svg(figure: Figure, name: str, description: str) -> str:
    """The figure as inline SVG: ids of its own, no outside names, ink and rules in the page's colours."""
    freeze(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    for stand_in, real in ((INK, "currentColor"), (FAINT, "var(--faint)"), (RULE, "var(--rule)"), (PAPER, "var(--paper)")):
        text = text.replace(stand_in, real)
    for number, code in enumerate(PALETTE):
        text = text.replace(code, f"var(--s{number})")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{description}">', text, count=1
    )
    return re.sub(r"\n\s*", "\n", text)


Box = tuple[float, float, float, float]


def logarithmic(axes: Axes, low: float, high: float, unit: str = "") -> None:
    """A logarithmic axis from low to high with three to eight readable ticks, whatever it spans."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [tick for tick in np.outer(decades, steps).ravel() if low <= tick <= high]
        if 3 <= len(ticks) <= 8:
            break
    else:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(unit=unit, sep=" "))


def _overlap(first: Box, second: Box) -> float:
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _spots(x: float, y: float, wide: float, high: float) -> list[tuple[Box, str]]:
    """Where a label may stand around its point, best first: boxes in points, and the side the text begins on."""
    spots: list[tuple[Box, str]] = []
    for gap in (6.0, 14.0, 24.0):
        for down in (0.0, 0.8, -0.8):
            middle = y + down * gap
            spots.append(((x + gap, middle - high / 2, x + gap + wide, middle + high / 2), "left"))
            spots.append(((x - gap - wide, middle - high / 2, x - gap, middle + high / 2), "right"))
        spots.append(((x - wide / 2, y + gap - 1, x + wide / 2, y + gap - 1 + high), "center"))
        spots.append(((x - wide / 2, y - gap + 1 - high, x + wide / 2, y - gap + 1), "center"))
    return spots


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str, str]], lines: Sequence[Sequence[tuple[float, float]]] = ()
) -> None:
    """Write (x, y, text, colour) beside each point, off the other points, labels and the given lines, inside the axes."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    freeze(figure)
    scale = 72 / figure.dpi
    frame = axes.get_window_extent()
    edges = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    dots = [tuple(axes.transData.transform((x, y)) * scale) for x, y, _, _ in points]
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in dots]
    for line in lines:
        taken += [(x - 1.5, y - 1.5, x + 1.5, y + 1.5) for x, y in (axes.transData.transform(point) * scale for point in line)]
    for (x, y), (data_x, data_y, text, tint) in zip(dots, points, strict=True):
        wide, high = len(text) * FONT * 0.56 + 2, FONT * 1.05
        best = min(_spots(x, y, wide, high), key=lambda spot: _badness(spot[0], taken, edges))
        box, side = best
        taken.append(box)
        at = {"left": box[0], "right": box[2], "center": (box[0] + box[2]) / 2}[side]
        offset = (at - x, (box[1] + box[3]) / 2 - y)
        far = max(box[0] - x, x - box[2], box[1] - y, y - box[3]) > 8
        leader = {"arrowstyle": "-", "color": tint, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if far else None
        note = axes.annotate(
            text, (data_x, data_y), offset, textcoords="offset points", ha=side, va="center", color=tint, arrowprops=leader
        )
        note.set_in_layout(False)


def _badness(box: Box, taken: Sequence[Box], edges: Box) -> float:
    """Square points of covered ink, and distance outside the frame."""
    outside = max(0, edges[0] - box[0]) + max(0, box[2] - edges[2]) + max(0, edges[1] - box[1]) + max(0, box[3] - edges[3])
    return sum(_overlap(box, other) for other in taken) + 40 * outside


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write (x, y, text, colour) right of the frame at the height of each line's end, moved apart where they would touch."""
    low, high = axes.get_ylim()
    step = (high - low) * FONT * 1.2 / (HEIGHT * 72 * 0.78)
    ordered = sorted(ends, key=lambda end: end[1])
    heights = spread([end[1] for end in ordered], step, low)
    for (x, y, text, tint), place in zip(ordered, heights, strict=True):
        leader = {"arrowstyle": "-", "color": tint, "linewidth": 0.7, "linestyle": (0, (1, 2)), "shrinkA": 1, "shrinkB": 2}
        beside = (1.045, (place - low) / (high - low))
        axes.annotate(text, (x, y), beside, textcoords="axes fraction", va="center", color=tint, arrowprops=leader)


def spread(values: Sequence[float], step: float, floor: float) -> list[float]:
    """Ascending values, moved as little as needed to stand `step` apart and above `floor`: touching ones share their middle."""
    clusters: list[list[float]] = []  # [sum of wished-for lowest places, how many, lowest place]
    for value in values:
        clusters.append([value, 1, value])
        while len(clusters) > 1 and clusters[-2][2] + clusters[-2][1] * step > clusters[-1][2]:
            last = clusters.pop()
            before = clusters[-1]
            before[0] += last[0] - last[1] * before[1] * step
            before[1] += last[1]
            before[2] = max(floor, before[0] / before[1])
    return [cluster[2] + n * step for cluster in clusters for n in range(int(cluster[1]))]
