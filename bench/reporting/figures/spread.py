"""Move labels apart where they would touch."""

from collections.abc import Sequence


def spread_labels(
    values: Sequence[float], step: float, lowest: float, highest: float
) -> list[float]:
    """Return ascending values moved as little as needed to be `step` apart between two ends.

    Touching labels form a cluster around the mean of their values.
    """

    def first_place(total: float, count: int) -> float:
        return max(lowest, min(total / count, highest - (count - 1) * step))

    clusters: list[tuple[float, int]] = []  # sum of the wanted first places, labels
    for value in values:
        total, count = value, 1
        while clusters:
            before, size = clusters[-1]
            if first_place(before, size) + size * step <= first_place(total, count):
                break
            clusters.pop()
            total, count = before + total - count * size * step, size + count
        clusters.append((total, count))
    return [first_place(*one) + n * step for one in clusters for n in range(one[1])]
