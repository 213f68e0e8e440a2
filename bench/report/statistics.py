"""Intervals and differences of means over seeds and over held-out documents; ratios of paired samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Numbers = NDArray[np.float64]
LEVEL = 0.95
QUIET = (0.97, 1.03)  # an A/A pair must lie inside, or the clock of this machine decides nothing today


class Interval(NamedTuple):
    """A mean and its 95 % interval; `basis` says what was sampled."""

    value: float
    low: float
    high: float
    basis: str

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def ratio_variance(numerator: Numbers, denominator: Numbers) -> float:
    """Variance of Σ numerator / Σ denominator over its documents (linearised); NaN for fewer than two documents."""
    count, total = len(numerator), float(denominator.sum())
    if count < 2 or total <= 0:
        return float("nan")
    residual = numerator - numerator.sum() / total * denominator
    return float(count / (count - 1) * np.square(residual).sum() / total**2)


def combined(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Half-width of the 95 % interval of a sum of (variance, degrees of freedom), and its own freedom (Welch–Satterthwaite)."""
    known = [(variance, freedom) for variance, freedom in parts if np.isfinite(variance) and freedom > 0]
    total = sum(variance for variance, _ in known)
    if not known:
        return float("nan"), 0.0
    if total == 0:
        return 0.0, float("inf")
    freedom = total**2 / sum(variance**2 / freedom for variance, freedom in known)
    return float(stdtrit(freedom, 0.5 + LEVEL / 2) * np.sqrt(total)), freedom


def interval(seeds: Numbers, document_variance: float = float("nan"), documents: int = 0) -> Interval:
    """Mean over seeds, with the seeds' t interval widened by the documents' variance; one seed leaves the documents alone."""
    count = len(seeds)
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), "nothing")
    mean = float(np.mean(seeds))
    seed_part = (float(np.var(seeds, ddof=1)) / count, count - 1.0) if count > 1 else (float("nan"), 0.0)
    half, _ = combined([seed_part, (document_variance, documents - 1.0)])
    basis = [name for name, there in (("seeds", count > 1), ("documents", np.isfinite(document_variance))) if there]
    return Interval(mean, mean - half, mean + half, " and ".join(basis) or "nothing")


def pooled(groups: Sequence[Numbers]) -> tuple[float, float]:
    """The seed variance that all architectures of a comparison share, and its degrees of freedom."""
    freedom = float(sum(len(group) - 1 for group in groups if len(group)))
    squares = sum(float(np.square(group - group.mean()).sum()) for group in groups if len(group))
    return (squares / freedom if freedom else float("nan")), freedom


def difference(
    first: Numbers, second: Numbers, variance: tuple[float, float], document_variance: float, documents: int
) -> Interval:
    """first − second of two means over seeds, from the pooled seed variance and that of the documents' paired difference."""
    value = float(first.mean() - second.mean())
    seed_part = (variance[0] * (1 / len(first) + 1 / len(second)), variance[1])
    half, _ = combined([seed_part, (document_variance, documents - 1.0)])
    return Interval(value, value - half, value + half, "seeds and documents" if variance[1] else "documents")


def median_interval(samples: Numbers, draws: int = 2000) -> Interval:
    """The median and its percentile bootstrap interval; always the same for the same samples."""
    if not len(samples):
        return Interval(float("nan"), float("nan"), float("nan"), "nothing")
    median = float(np.median(samples))
    if len(samples) < 2:
        return Interval(median, float("nan"), float("nan"), "one sample")
    picks = np.random.default_rng(0).integers(0, len(samples), size=(draws, len(samples)))
    low, high = np.quantile(np.median(samples[picks], axis=1), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return Interval(median, float(low), float(high), "rounds")


def quiet(pair: Interval | None) -> bool:
    """Whether an A/A pair allows a claim about speed."""
    return pair is not None and QUIET[0] <= pair.low and pair.high <= QUIET[1]


def pareto(cost: Numbers, loss: Numbers) -> NDArray[np.bool_]:
    """Which points no other one beats in both (lower is better in both); equal points stay together."""
    less = (cost[None, :] <= cost[:, None]) & (loss[None, :] <= loss[:, None])
    strictly = (cost[None, :] < cost[:, None]) | (loss[None, :] < loss[:, None])
    return ~np.asarray((less & strictly).any(axis=1), dtype=bool)
