"""Names inside figures: beside their points where there is room, else in the margin with a thin line to the point."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.reporting.plots.drawing import FONT, freeze

Point = tuple[float, float, str, str]  # x and y in data, text, colour
Box = tuple[float, float, float, float]  # left, bottom, right, top, in points (1/72 inch)
LEADER: dict[str, Any] = {
    "arrowstyle": "-",
    "shrinkA": 1,
    "patchA": None,
}  # clipping by a patch costs more than all the rest
RELATIVE = {"left": (0, 0.5), "right": (1, 0.5), "center": (0.5, 0)}
COVERED = 20.0  # square points of ink that a label may cover before it belongs into the margin


class NoRoomForLabel(Exception):
    """There is no room beside some point."""


def _spots(x: float, y: float, wide: float, high: float) -> list[tuple[Box, str]]:
    """Where a label may stand around its point, best first, and the side the text begins on."""
    spots: list[tuple[Box, str]] = []
    for gap in (6.0, 14.0, 24.0):
        for down in (0.0, 0.8, -0.8):
            middle = y + down * gap
            spots.append(((x + gap, middle - high / 2, x + gap + wide, middle + high / 2), "left"))
            spots.append(((x - gap - wide, middle - high / 2, x - gap, middle + high / 2), "right"))
        spots.append(((x - wide / 2, y + gap - 1, x + wide / 2, y + gap - 1 + high), "center"))
        spots.append(((x - wide / 2, y - gap + 1 - high, x + wide / 2, y - gap + 1), "center"))
    return spots


def _badness(
    boxes: NDArray[np.float64], taken: NDArray[np.float64], edges: Box
) -> NDArray[np.float64]:
    """Square points of covered ink, and distance outside the frame, of each box."""
    low = np.maximum(boxes[:, None, :2], taken[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], taken[None, :, 2:])
    covered = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
    outside = np.clip(np.array(edges[:2]) - boxes[:, :2], 0, None) + np.clip(
        boxes[:, 2:] - np.array(edges[2:]), 0, None
    )
    return np.asarray(covered + 40 * outside.sum(axis=1), dtype=np.float64)


def label_points(
    axes: Axes, points: Sequence[Point], ink: Sequence[tuple[float, float]] = ()
) -> None:
    """Write each text beside its point, off the other points, texts and the given ink. Raises Crowded where one finds no room."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    freeze(figure)
    scale = 72 / figure.dpi
    frame = axes.get_window_extent()
    edges = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    dots = axes.transData.transform([(x, y) for x, y, _, _ in points]) * scale
    marks = axes.transData.transform(np.reshape(np.array(ink, dtype=float), (-1, 2))) * scale
    taken = np.vstack([np.hstack([dots - 4, dots + 4]), np.hstack([marks - 1.5, marks + 1.5])])
    for (x, y), (data_x, data_y, text, tint) in zip(dots, points, strict=True):
        spots = _spots(x, y, len(text) * FONT * 0.56 + 2, FONT * 1.05)
        bad = _badness(np.array([box for box, _ in spots]), taken, edges)
        best = int(np.argmin(bad))
        if bad[best] > COVERED:
            raise NoRoomForLabel(text)
        box, side = spots[best]
        taken = np.vstack([taken, box])
        at = {"left": box[0], "right": box[2], "center": (box[0] + box[2]) / 2}[side]
        far = max(box[0] - x, x - box[2], box[1] - y, y - box[3]) > 8
        leader = (
            LEADER | {"color": tint, "linewidth": 0.6, "shrinkB": 4, "relpos": RELATIVE[side]}
            if far
            else None
        )
        place = (at - x, (box[1] + box[3]) / 2 - y)
        axes.annotate(
            text,
            (data_x, data_y),
            place,
            textcoords="offset points",
            ha=side,
            va="center",
            color=tint,
            arrowprops=leader,
        )


def label_margin(axes: Axes, points: Sequence[Point]) -> None:
    """Write each text right of the frame at the height of its point, moved apart where they would touch; any scale of y."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    step = FONT * 1.2 / (figure.get_figheight() * 72 - 50)
    scale = axes.transScale.transform(
        [(1.0, level) for level in (*axes.get_ylim(), *(y for _, y, _, _ in points))]
    )[:, 1]
    wished = (scale[2:] - scale[0]) / (scale[1] - scale[0])
    order = np.argsort(wished, kind="stable")
    for place, height in zip(
        order, spread_labels([float(wished[one]) for one in order], step, 0.0, 1.0), strict=True
    ):
        x, _, text, tint = points[place]
        axes.text(1.06, height, text, va="center", color=tint, transform=axes.transAxes)
        left = float(axes.transLimits.transform(axes.transScale.transform((x, 1.0)))[0])
        thin = LineCollection(
            [[(left, wished[place]), (1.055, height)]],
            colors=tint,
            linewidths=0.7,
            linestyles=[(0, (1, 2))],
            transform=axes.transAxes,
            clip_on=False,
            zorder=1,
        )
        thin.set_in_layout(False)
        axes.add_artist(thin)


def spread_labels(
    values: Sequence[float], step: float, floor: float, ceiling: float
) -> list[float]:
    """Ascending values, moved as little as needed to stand `step` apart between two ends: touching ones share their middle."""
    clusters: list[list[float]] = []  # [sum of wished-for lowest places, how many, lowest place]

    def settle(cluster: list[float]) -> None:
        cluster[2] = max(floor, min(cluster[0] / cluster[1], ceiling - (cluster[1] - 1) * step))

    for value in values:
        clusters.append([value, 1, value])
        settle(clusters[-1])
        while len(clusters) > 1 and clusters[-2][2] + clusters[-2][1] * step > clusters[-1][2]:
            last = clusters.pop()
            before = clusters[-1]
            before[0] += last[0] - last[1] * before[1] * step
            before[1] += last[1]
            settle(before)
    return [cluster[2] + n * step for cluster in clusters for n in range(int(cluster[1]))]
