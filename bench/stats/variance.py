"""Estimate the variance of scores: of seeds, pooled over groups, and of documents (jackknife)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtr, fdtrc

from bench.stats.intervals import Numbers

OUTLIER_LEVEL = 0.01  # over all groups, at which a seed variance differs from the others


class SeedVariance(NamedTuple):
    """The variance of one seed of each group, shared within the pool."""

    shared: float
    freedom: float
    own: Numbers  # (G,)
    counts: Numbers  # (G,) seeds
    pool: NDArray[np.bool_]  # (G,)


class VarianceSources(NamedTuple):
    """Where the differences of some pairs vary from."""

    seeds: SeedVariance
    ends: NDArray[np.intp]  # (2, pairs): their groups
    documents: Numbers  # (pairs,): variance of the paired difference
    effective_n: float  # of the documents

    def select(self, pairs: NDArray[np.bool_]) -> "VarianceSources":
        """Return the sources of some of the pairs."""
        return self._replace(ends=self.ends[:, pairs], documents=self.documents[pairs])

    def total(self, counts: Numbers | None = None) -> tuple[Numbers, Numbers]:
        """Return the variance of the difference of two means and its degrees of freedom, (pairs,).

        `counts`: seeds per group, (pairs,), where they are not those observed.
        """
        seeds, pooled = self.seeds, self.seeds.pool[self.ends]
        each, freedom = seeds.counts[self.ends], np.array(seeds.freedom)
        if counts is not None:
            each = np.vstack([counts, counts])
            freedom = (seeds.pool & (seeds.counts > 0)).sum() * (counts - 1)
        shared = np.where(pooled, seeds.shared / each, 0.0).sum(axis=0)
        own = np.where(pooled, 0.0, seeds.own[self.ends] / each)
        ones = np.ones_like(shared)
        freedoms = np.vstack([freedom * ones, each - 1, (self.effective_n - 1) * ones])
        total, combined = _combine(np.vstack([shared, own, self.documents]), freedoms)
        unknown = np.isnan(shared) & np.isnan(self.documents)
        return np.where(unknown, np.nan, total), combined


def _combine(variances: Numbers, freedoms: Numbers) -> tuple[Numbers, Numbers]:
    """Sum variances (parts, pairs) and combine their freedoms (Welch–Satterthwaite).

    Parts that are not finite count as zero; NaN where none is finite.
    """
    finite = np.isfinite(variances)
    variances = np.where(finite, variances, 0.0)
    total = variances.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (np.square(variances) / np.maximum(freedoms, 1)).sum(axis=0)
    return np.where(finite.any(axis=0), total, np.nan), np.where(total > 0, freedom, np.inf)


def pool_seed_variance(seeds: Sequence[Numbers], candidates: NDArray[np.bool_]) -> SeedVariance:
    """Pool the seed variance over the candidate groups.

    A group whose variance differs from the others' (an F test) leaves the pool and keeps its own:
    one unsteady group would otherwise hide every difference, and be called different too easily.
    """
    counts = np.array([len(scores) for scores in seeds], dtype=float)
    squares = np.array([np.square(s - s.mean()).sum() if len(s) else 0.0 for s in seeds])
    pool, free = candidates & (counts > 0), np.maximum(counts - 1, 0)
    while (testable := np.flatnonzero(pool & (free > 0))).size > 1:
        outlier = _variance_outlier(squares, free, pool, testable)
        if outlier is None:
            break
        pool[outlier] = False
    freedom = float(free[pool].sum())
    shared = float(squares[pool].sum()) / freedom if freedom else float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return SeedVariance(shared, freedom, squares / free, counts, pool | (free == 0))


def _variance_outlier(
    squares: Numbers, free: Numbers, pool: NDArray[np.bool_], testable: NDArray[np.intp]
) -> int | None:
    """Return the group that varies most unlike the rest of the pool, if that is significant."""
    others = squares[pool].sum() - squares[testable], free[pool].sum() - free[testable]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = squares[testable] / free[testable] / (others[0] / others[1])
    tails = np.minimum(
        fdtr(free[testable], others[1], ratio), fdtrc(free[testable], others[1], ratio)
    )
    worst = int(np.argmin(np.where(np.isfinite(ratio), tails, 1.0)))
    if 2 * tails[worst] * len(testable) > OUTLIER_LEVEL or not np.isfinite(ratio[worst]):
        return None
    return int(testable[worst])


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
