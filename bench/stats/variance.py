"""Estimate the variance of a difference of mean scores: over seeds, and over documents (jackknife).

Groups differ in how much their seeds vary, and three seeds cannot show by how much, so no variance
is pooled over all groups. In each pair a group has its own seed variance or that of the groups
outside the pair, whichever is larger.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from bench.stats.intervals import TAILS, Numbers

POOL_FREEDOM = 8  # most degrees of freedom of a pooled variance, per degree of the group's own
UNSTEADY = 6.0  # times the pooled variance from which a group's own seeds alone make the interval


def group_means(seeds: Sequence[Numbers]) -> Numbers:
    """Return the mean of each group's seeds, NaN without any."""
    return np.array([scores.mean() if len(scores) else np.nan for scores in seeds])


def seed_sums(seeds: Sequence[Numbers]) -> tuple[Numbers, Numbers]:
    """Return by group the number of seeds, and the sum of squared deviations from their mean."""
    squares = [np.square(scores - scores.mean()).sum() if len(scores) else 0.0 for scores in seeds]
    return np.array([len(scores) for scores in seeds], dtype=float), np.array(squares)


class Spread(NamedTuple):
    """The variance of each pair's difference of means, and its degrees of freedom."""

    variance: Numbers  # (pairs,); NaN where it is not known
    freedom: Numbers  # (pairs,), by Welch–Satterthwaite: for p values
    interval_freedom: Numbers  # (pairs,), at most `freedom`: for intervals

    @property
    def half(self) -> Numbers:
        """Return half the width of each 95 % interval."""
        return np.asarray(stdtrit(self.interval_freedom, TAILS[1]) * np.sqrt(self.variance))

    def p_values(self, distance: Numbers) -> tuple[Numbers, Numbers]:
        """Return two-sided p values of differences of this size ≥ 0.

        By `freedom`, and by `interval_freedom`: a claim also needs an interval without zero.
        """
        error = np.sqrt(self.variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(distance > 0, distance / error, error * 0.0)
        return 2 * stdtr(self.freedom, -statistic), 2 * stdtr(self.interval_freedom, -statistic)


class VarianceSources(NamedTuple):
    """What the differences of some pairs vary from."""

    counts: Numbers  # (G,) seeds
    squares: Numbers  # (G,) sums of squared deviations from the group's mean
    ends: NDArray[np.intp]  # (2, pairs): their groups; (1, pairs) where groups are differences
    pools: NDArray[np.bool_]  # (pairs, G): groups outside a pair whose seeds count for it
    documents: Numbers  # (pairs,): variance of the paired difference
    effective_n: float | Numbers  # of the documents, for all pairs or for each

    @property
    def freedoms(self) -> Numbers:
        """Return the degrees of freedom of each group's own variance, (G,)."""
        return np.maximum(self.counts - 1, 0)

    def select(self, pairs: NDArray[np.bool_]) -> "VarianceSources":
        """Return the sources of some of the pairs."""
        return self._replace(
            ends=self.ends[:, pairs], pools=self.pools[pairs], documents=self.documents[pairs]
        )

    def seed_variances(self) -> tuple[Numbers, Numbers]:
        """Return the own variance of each end, and that of the others, (pairs,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            own = (self.squares / self.freedoms)[self.ends]
            return own, (self.pools @ self.squares) / (self.pools @ self.freedoms)

    def spread(self, seeds: Numbers | None = None) -> Spread:
        """Return variance and freedom of each difference.

        `seeds`: per group, (pairs,), where they are not those observed. Where some groups have
        several seeds, the variance of a pair with a group of one seed is not known.
        """
        own, pool = self.seed_variances()
        if not self.freedoms.any():
            return self._document_spread()
        counts, free, pool_free = self._seed_counts(seeds)
        used = np.where(np.isnan(own), np.nan, np.fmax(own, pool))
        free = np.where(used > own, np.minimum(free + pool_free, POOL_FREEDOM * free), free)
        variances = np.vstack([used / counts, np.nan_to_num(self.documents)])
        if (few := counts.min(axis=0) <= 2).any():  # two seeds say next to nothing of a variance
            variances[0, few], variances[1:-1, few] = variances[:-1, few].sum(axis=0), 0.0
            free = np.where(few, 1.0, free)
        return _combine(variances, self._freedoms(free), own > UNSTEADY * pool)

    def _document_spread(self) -> Spread:
        """Return variance and freedom of each difference where every group has one seed."""
        none = np.zeros(self.ends.shape)
        return _combine(np.vstack([none, self.documents]), self._freedoms(none), none > 0)

    def _seed_counts(self, seeds: Numbers | None) -> tuple[Numbers, Numbers, Numbers]:
        """Return seeds and freedom of each end, and the pool's freedom, (pairs,)."""
        if seeds is None:
            return self.counts[self.ends], self.freedoms[self.ends], self.pools @ self.freedoms
        counts = np.vstack([seeds, seeds])
        pool = (self.pools & (self.freedoms > 0)).sum(axis=1) * (seeds - 1)
        return counts, counts - 1, pool

    def _freedoms(self, seeds: Numbers) -> Numbers:
        """Return the degrees of freedom of the ends and of the documents, (ends + 1, pairs)."""
        documents = np.full(seeds.shape[1], self.effective_n - 1)
        return np.maximum(np.vstack([seeds, documents]), 1)


def _combine(variances: Numbers, freedoms: Numbers, unsteady: NDArray[np.bool_]) -> Spread:
    """Sum the variances of the ends and of the documents, (ends + 1, pairs).

    By Welch–Satterthwaite. `unsteady`, (ends, pairs): where such a group's variance is the largest,
    its own freedom makes the interval.
    """
    total = variances.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (np.square(variances) / freedoms).sum(axis=0)
    freedom = np.where(total > 0, freedom, np.inf)
    decisive = unsteady & (variances[:-1] >= variances.max(axis=0))
    alone = np.where(decisive, freedoms[:-1], np.inf).min(axis=0)
    return Spread(total, freedom, np.minimum(freedom, alone))


def unsteady_groups(seeds: Sequence[Numbers]) -> list[int]:
    """Return the groups whose seed variance exceeds UNSTEADY times that of the others."""
    counts, squares = seed_sums(seeds)
    free = np.maximum(counts - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        others = (squares.sum() - squares) / (free.sum() - free)
        return [int(group) for group in np.flatnonzero(squares / free > UNSTEADY * others)]


def jackknife_changes(nats: Any, sizes: Any, mean: Any, total: Any) -> Any:
    """Return by how much Σ nats / Σ bytes changes when each document is left out.

    `mean` is Σ nats / Σ bytes and `total` is Σ bytes: arrays or Series that broadcast.
    """
    return (nats - mean * sizes) / (total - sizes)


def document_variances(nats: Numbers, sizes: Numbers) -> Numbers:
    """Return the variance of paired differences in Σ nats / (ln 2 · Σ bytes), (groups, groups).

    By the jackknife over documents, which is not too small where one document is a good part of
    the total. NaN where documents are too few, or not the same.
    """
    count, total = len(sizes), sizes.sum()
    if count < 2 or sizes.max() >= total:
        return np.full((len(nats), len(nats)), np.nan)
    changes = jackknife_changes(nats, sizes, nats.sum(axis=1, keepdims=True) / total, total)
    products = changes @ changes.T
    squares = np.diag(products)[:, None] + np.diag(products)[None, :] - 2 * products
    return np.asarray(np.maximum(squares, 0) * (count - 1) / count / np.log(2) ** 2)


def effective_n(sizes: Numbers) -> float:
    """Return how many documents of equal size carry as much information (Kish 1965)."""
    return float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0
