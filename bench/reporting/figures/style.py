"""One look for all figures: seaborn's, on white, with names at the ends of lines."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullLocator

from bench.reporting.figures.spread import spread_labels

FONT = 8.0  # points
INK, FAINT, GRID = "#1b1c1e", "#5f6368", "#dddddd"
PANEL = 2.9  # inches
MAX_TICKS = 5
LEADER: dict[str, Any] = {"linewidth": 0.5, "linestyle": (0, (1, 2)), "clip_on": False}
OWN: dict[str, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": FONT, "axes.titlesize": FONT + 1,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelsize": FONT,
    "xtick.labelsize": FONT - 1, "ytick.labelsize": FONT - 1, "text.color": INK,
    "axes.labelcolor": INK, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.edgecolor": FAINT, "grid.color": GRID, "grid.linewidth": 0.6, "axes.linewidth": 0.7,
    "lines.linewidth": 1.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "text.parse_math": False, "svg.fonttype": "none",
    "svg.hashsalt": "figures", "pdf.fonttype": 42, "savefig.dpi": 200, "figure.dpi": 100,
}  # fmt: skip


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of the figures; names are text, with no mathematics in them."""
    style = sns.axes_style("whitegrid") | sns.plotting_context("paper") | OWN
    with mpl.rc_context(style), catch_warnings():
        filterwarnings("ignore", "Glyph .* missing from")  # a name may hold any character
        yield


def new_figure(
    panels: int, foot: str, rows: int = 1, height: float = 2.6, **sharing: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row of panels for each row, and a line of text at its foot."""
    layout = ConstrainedLayoutEngine(rect=(0, 0, 0.98, 1))  # room for letters of another width
    figure = Figure(figsize=(PANEL * panels + 1.2, height * rows + 0.2), layout=layout)
    axes = figure.subplots(rows, panels, squeeze=False, **sharing)
    figure.supxlabel(foot, x=0.01, ha="left", fontsize=FONT - 1.5, color=FAINT)
    return figure, list(axes.flat)


def save_figure(figure: Figure, paths: Iterable[Path]) -> None:
    """Write a figure in the format of each suffix; equal figures make equal files."""
    dated = {".svg": ["Date", "Creator"], ".pdf": ["CreationDate", "Creator", "Producer"]}
    with figure_style():
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine(None)  # savefig would arrange it again for each file
        for path in paths:
            metadata: dict[str, Any] = dict.fromkeys(dated.get(path.suffix, ["Software"]))
            figure.savefig(path, metadata=metadata, facecolor="white")


def name_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names right of the frame, with dotted lines to their points, none over another.

    `ends`: name, x and y in data, colour. The limits of the axes have to be set.
    """
    if not ends:
        return
    points = np.array([end[1:3] for end in ends], dtype=float)
    places = axes.transLimits.transform(axes.transScale.transform(points))
    order = np.argsort(places[:, 1], kind="stable")
    heights = spread_labels([float(y) for y in places[order, 1]], _name_height(axes), 0.0, 1.0)
    common: dict[str, Any] = {"transform": axes.transAxes}
    for n, y in zip(order, heights, strict=True):
        name, _, _, colour = ends[n]
        axes.text(1.04, y, name, va="center", color=colour, fontsize=FONT - 0.5, **common)
        axes.plot([places[n, 0], 1.035], [places[n, 1], y], color=colour, **LEADER, **common)


def _name_height(axes: Axes) -> float:
    """Return the height of a line of text as a share of the frame's."""
    grid, figure = axes.get_gridspec(), axes.get_figure(root=True)
    assert grid is not None
    assert figure is not None
    return FONT * 1.15 / (figure.get_figheight() * 72 / grid.nrows - 60)


def set_log(axes: Axes, values: Iterable[float], unit: str = "", axis: str = "x") -> None:
    """Set a logarithmic axis around the values, with three to five readable ticks.

    Zeros stand at its lower end, left of a linear stretch.
    """
    finite = [value for value in values if np.isfinite(value)]
    positive = [value for value in finite if value > 0] or [1.0]
    least, high = min(positive), max(positive) * 1.3
    low, scale, options = least / 1.3, "log", {}
    ticks = log_ticks(low, high)
    if len(positive) < len(finite):
        low, scale, options = -0.1 * least, "symlog", {"linthresh": least / 2, "linscale": 0.4}
        ticks = [0.0, *ticks[-MAX_TICKS + 1 :]]
    (axes.set_xscale if axis == "x" else axes.set_yscale)(scale, **options)
    axes.set(**{f"{axis}lim": (low, high)})
    _set_ticks(axes.xaxis if axis == "x" else axes.yaxis, ticks, unit)


def _set_ticks(axis: Any, ticks: Sequence[float], unit: str) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(EngFormatter(unit, sep=" " if unit else ""))


def log_ticks(low: float, high: float) -> list[float]:
    """Return readable ticks between two positive numbers: three to five where possible."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5)):
        ticks = [float(tick) for tick in np.outer(decades, steps).ravel() if low <= tick <= high]
        if 3 <= len(ticks) <= MAX_TICKS:
            return ticks
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def set_lengths(axes: Axes, places: Iterable[float]) -> None:
    """Set x to base 2 with ticks at the measured places, at every second or third of many."""
    axes.set_xscale("log", base=2)
    ticks = sorted(set(places))
    ticks = ticks[:: 1 + (len(ticks) - 1) // 6]
    axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
