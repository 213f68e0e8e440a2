"""Labels of points in the right margin, moved apart where they would touch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

FONT = 9.5
Label = tuple[float, float, str, str]  # x and y in data, text, colour


def label_margin(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each text right of the frame, with a thin line to its point; y has any scale."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    if not labels:
        return
    step = FONT * 1.2 / (figure.get_figheight() * 72 - 50)
    points = np.array([label[:2] for label in labels], dtype=float)
    places = axes.transLimits.transform(axes.transScale.transform(points))
    order = np.argsort(places[:, 1], kind="stable")
    heights = spread_labels([float(height) for height in places[order, 1]], step, 0.0, 1.0)
    for n, height in zip(order, heights, strict=True):
        text, tint = labels[n][2:]
        axes.text(1.06, height, text, va="center", color=tint, transform=axes.transAxes)
        _draw_leader(axes, (places[n, 0], places[n, 1]), height, tint)


def _draw_leader(axes: Axes, point: tuple[float, float], height: float, tint: str) -> None:
    """Draw a thin line from a point to the height of its label, both in shares of the frame."""
    leader = LineCollection(
        [[point, (1.055, height)]],
        colors=tint,
        linewidths=0.7,
        linestyles=[(0, (1, 2))],
        transform=axes.transAxes,
        clip_on=False,
        zorder=1,
    )
    leader.set_in_layout(False)
    axes.add_artist(leader)


def spread_labels(
    values: Sequence[float], step: float, lowest: float, highest: float
) -> list[float]:
    """Return ascending values moved as little as needed to be `step` apart between two ends.

    Touching labels form a cluster around the mean of their values.
    """
    clusters: list[list[float]] = []  # [sum of the wanted first places, labels, first place]
    for value in values:
        clusters.append([value, 1, value])
        _settle_cluster(clusters[-1], step, lowest, highest)
        while len(clusters) > 1 and clusters[-2][2] + clusters[-2][1] * step > clusters[-1][2]:
            last = clusters.pop()
            before = clusters[-1]
            before[0] += last[0] - last[1] * before[1] * step
            before[1] += last[1]
            _settle_cluster(before, step, lowest, highest)
    return [cluster[2] + n * step for cluster in clusters for n in range(int(cluster[1]))]


def _settle_cluster(cluster: list[float], step: float, lowest: float, highest: float) -> None:
    """Place a cluster around the mean of its values, between the two ends."""
    top = highest - (cluster[1] - 1) * step
    cluster[2] = max(lowest, min(cluster[0] / cluster[1], top))
