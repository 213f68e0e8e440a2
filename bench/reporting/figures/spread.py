"""Move labels apart where they would touch."""

from collections.abc import Sequence


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
