"""Evaluate random searches: the best trial, whether it bounds the range, the expected best."""

import math
from collections.abc import Sequence


def best_trial(scores: Sequence[float]) -> int | None:
    """Return the position of the lowest finite score, or None."""
    finite = [place for place, score in enumerate(scores) if math.isfinite(score)]
    return min(finite, key=scores.__getitem__, default=None)


def range_edges(values: Sequence[float], scores: Sequence[float]) -> list[str]:
    """Return "low", "high", both or neither: where no trial lies beyond the best one's value."""
    best = best_trial(scores)
    ends = {} if best is None else {"low": min(values), "high": max(values)}
    return [name for name, end in ends.items() if best is not None and values[best] == end]


def expected_best(scores: Sequence[float]) -> list[float]:
    """Return the expected lowest of n scores drawn without replacement, for n = 1 … N.

    Σ C(N−i, n−1) / C(N, n) · s₍ᵢ₎ over the ranks i = 1 … N. A failed trial scores infinity: where
    n trials could all have failed, so does the expectation.
    """
    ranked, count = sorted(scores), len(scores)
    return [
        sum(
            math.comb(count - 1 - place, n - 1) / math.comb(count, n) * score
            for place, score in enumerate(ranked[: count - n + 1])
        )
        for n in range(1, count + 1)
    ]
