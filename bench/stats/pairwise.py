"""Is one arm better than another? Differences of means with every source of variance, for all pairs of a table at once.

The seed is the unit. What one seed varies by is pooled over the arms of the table, and the documents' share of the paired
difference is added (Welch–Satterthwaite). Claims are corrected over the family of pairs by Holm (1979). A claimed difference
is decided by one seed where P(A beats B) over pairs of seeds stays under 0.75 (Bouthillier et al. 2021).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import fdtr, fdtrc, stdtr, stdtrit

from bench.stats.intervals import CONFIDENCE, Numbers

ALPHA = 1 - CONFIDENCE
POWER = 0.8  # with which a difference of the size called detectable is found
DECIDED_WIN_RATE = 0.75  # P(A beats B) from which one seed does not decide
OUTLIER_LEVEL = 0.01  # level, over all arms, at which a seed variance is unlike that of the others
MAX_SEEDS = 1000  # seeds that are thought of as what would settle a difference
BETTER, ONE_SEED_DECIDES, NOT_DISTINGUISHABLE, UNKNOWN = (
    "better",
    "one seed decides",
    "not distinguishable",
    "unknown",
)


class Groups(NamedTuple):
    """What is compared. `nats` holds the mean over seeds; without documents it has no columns."""

    seeds: Sequence[Numbers]  # of each arm: bits per byte of each seed
    nats: Numbers  # (arms, documents); a row of NaN where an arm has no documents, or other ones
    sizes: Numbers  # (documents,) bytes


class SeedVariance(NamedTuple):
    """The variance of one seed of each arm: shared by all of the pool, its own for those apart."""

    shared: float
    freedom: float
    own: Numbers  # (arms,)
    counts: Numbers  # (arms,) seeds
    pool: NDArray[np.bool_]  # (arms,)


def pool_seed_variance(seeds: Sequence[Numbers], asked: NDArray[np.bool_]) -> SeedVariance:
    """Pool the seed variance over the arms asked for. One that varies unlike the others (an F test) leaves the pool, and keeps
    its own: a single unsteady arm would otherwise hide every difference, and be called different itself too easily."""
    counts = np.array([len(one) for one in seeds], dtype=float)
    squares = np.array(
        [float(np.square(one - one.mean()).sum()) if len(one) else 0.0 for one in seeds]
    )
    pool, free = asked & (counts > 0), np.maximum(counts - 1, 0)
    while (several := pool & (free > 0)).sum() > 1:
        places = np.flatnonzero(several)
        rest = squares[pool].sum() - squares[places], free[pool].sum() - free[places]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = squares[places] / free[places] / (rest[0] / rest[1])
        tails = np.minimum(fdtr(free[places], rest[1], ratio), fdtrc(free[places], rest[1], ratio))
        worst = int(np.argmin(np.where(np.isfinite(ratio), tails, 1.0)))
        if 2 * tails[worst] * len(places) > OUTLIER_LEVEL or not np.isfinite(ratio[worst]):
            break
        pool[places[worst]] = False
    freedom = float(free[pool].sum())
    shared = float(squares[pool].sum()) / freedom if freedom else float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return SeedVariance(shared, freedom, squares / free, counts, pool | (free == 0))


def document_variances(nats: Numbers, sizes: Numbers) -> Numbers:
    """(arms, arms): variance of Σ (nats of one − nats of the other) / (ln 2 · Σ bytes) over documents: the jackknife's, which
    does not come out too small where one document is a good part of the whole. NaN where documents are too few, or unlike."""
    count, whole = len(sizes), sizes.sum()
    if count < 2 or sizes.max() >= whole:
        return np.full((len(nats), len(nats)), np.nan)
    change = (nats - nats.sum(axis=1, keepdims=True) / whole * sizes) / (
        whole - sizes
    )  # by leaving out one document
    products = change @ change.T
    squares = np.diag(products)[:, None] + np.diag(products)[None, :] - 2 * products
    return np.asarray(
        np.maximum(squares, 0) * (count - 1) / count / np.log(2) ** 2, dtype=np.float64
    )


def effective_n(sizes: Numbers) -> float:
    """How many documents of equal size would say as much (Kish 1965): a few long ones outweigh many short ones."""
    return float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0


def pairwise_tests(arms: Groups, twins: Sequence[tuple[int, int]] = ()) -> pd.DataFrame:
    """A row a pair: `first` (the lower mean), `second`, `difference` ≥ 0 and `half` of its 95 % interval, `p`, `adjusted` (Holm),
    `wins` (P(first beats second) over pairs of seeds), `detectable`, `needed` (seeds an arm, of what is not
    distinguishable), `kind`, `basis`, `control`.

    `twins`: pairs (arm, the same arm again). The second of each is in no pool, no family, and no other pair.
    """
    again = np.zeros(len(arms.seeds), dtype=bool)
    again[[second for _, second in twins]] = True
    left, right = np.triu_indices(len(arms.seeds), 1)
    family = ~again[left] & ~again[right]
    ends = (
        np.array([*zip(left[family], right[family], strict=True), *twins], dtype=int)
        .reshape(-1, 2)
        .T
    )  # (2, pairs)
    means = np.array([one.mean() if len(one) else np.nan for one in arms.seeds])
    ends = np.where(means[ends[0]] > means[ends[1]], ends[::-1], ends)
    table = pd.DataFrame(
        {"first": ends[0], "second": ends[1], "difference": means[ends[1]] - means[ends[0]]}
    )
    table["control"] = np.arange(ends.shape[1]) >= family.sum()
    sources = VarianceSources(
        pool_seed_variance(arms.seeds, ~again),
        ends,
        document_variances(arms.nats, arms.sizes)[tuple(ends)],
        effective_n(arms.sizes),
    )
    _add_tests(table, sources)
    table["wins"] = [_win_rate(arms.seeds[one], arms.seeds[other]) for one, other in ends.T]
    beyond = [table["p"].isna(), table["adjusted"] > ALPHA, table["wins"] < DECIDED_WIN_RATE]
    table["kind"] = np.select(beyond, [UNKNOWN, NOT_DISTINGUISHABLE, ONE_SEED_DECIDES], BETTER)
    same = (table["kind"] == NOT_DISTINGUISHABLE).to_numpy()
    table["needed"] = np.nan
    table.loc[same, "needed"] = _needed_seeds(
        table[same], sources._replace(ends=ends[:, same], documents=sources.documents[same])
    )
    return table


class VarianceSources(NamedTuple):
    """Where the differences of some pairs vary from."""

    spread: SeedVariance
    ends: NDArray[np.intp]  # (2, pairs): their arms
    documents: Numbers  # (pairs,): variance of the paired difference
    worth: float  # of the documents

    def total(self, seeds: Numbers | None = None) -> tuple[Numbers, Numbers]:
        """(pairs,): variance of the difference of two means, and its degrees of freedom; `seeds`: had each arm had so many."""
        spread, counts, free = (
            self.spread,
            self.spread.counts[self.ends],
            np.array(self.spread.freedom),
        )
        if seeds is not None:
            counts, free = (
                np.vstack([seeds, seeds]),
                (spread.pool & (spread.counts > 0)).sum() * (seeds - 1),
            )
        pooled = spread.pool[self.ends]
        shared = np.where(pooled, spread.shared / counts, 0.0).sum(axis=0)
        parts = np.vstack(
            [shared, np.where(pooled, 0.0, spread.own[self.ends] / counts), self.documents]
        )  # (4, pairs)
        width = parts.shape[1]
        freedoms = np.vstack(
            [np.broadcast_to(free, width), counts - 1, np.full(width, self.worth - 1)]
        )
        nothing = ~np.isfinite(parts).any(axis=0) | (np.isnan(shared) & np.isnan(self.documents))
        parts = np.where(np.isfinite(parts), parts, 0.0)
        total = parts.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = total**2 / (np.square(parts) / np.maximum(freedoms, 1)).sum(axis=0)
        return np.where(nothing, np.nan, total), np.where(total > 0, freedom, np.inf)


def _add_tests(table: pd.DataFrame, sources: VarianceSources) -> None:
    """Add `half`, `p`, `adjusted`, `detectable` and `basis`."""
    variance, freedom = sources.total()
    error = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(
            table["difference"] > 0,
            table["difference"] / error,
            np.where(np.isnan(error), np.nan, 0.0),
        )
    table["half"] = stdtrit(freedom, 1 - ALPHA / 2) * error
    table["p"] = 2 * stdtr(freedom, -size)
    family = ~table["control"] & table["p"].notna()
    table["adjusted"] = table["p"]
    table.loc[family, "adjusted"] = holm(table.loc[family, "p"].to_numpy(dtype=float))
    left = max(1, int((family & (table["adjusted"] > ALPHA)).sum()))
    table["level"] = np.where(
        table["control"], ALPHA, ALPHA / left
    )  # at which what was not claimed had to be claimed
    table["detectable"] = (
        stdtrit(freedom, 1 - table["level"] / 2) + stdtrit(freedom, POWER)
    ) * error
    seeded, there = np.isfinite(sources.spread.shared), np.isfinite(sources.documents)
    table["basis"] = np.select(
        [seeded & there, there, np.full(len(table), seeded)],
        ["seeds and documents", "documents", "seeds"],
        "",
    )


def holm(p: Numbers) -> Numbers:
    """P values adjusted for their number (Holm 1979): claims at `adjusted` ≤ 0.05 hold together, for any dependence."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def _win_rate(first: Numbers, second: Numbers) -> float:
    """P(a seed of the first is lower than one of the second), ties counted half; NaN without seeds."""
    if not len(first) or not len(second):
        return float("nan")
    below = first[:, None] < second[None, :]
    return float((below + 0.5 * (first[:, None] == second[None, :])).mean())


def _needed_seeds(table: pd.DataFrame, sources: VarianceSources) -> Numbers:
    """(pairs,): seeds an arm with which the difference seen would be found; inf where documents alone hide it, or beyond MOST."""
    target = table["difference"].to_numpy(dtype=float)
    level = table["level"].to_numpy(dtype=float)

    def settles(seeds: Numbers) -> NDArray[np.bool_]:
        variance, freedom = sources.total(seeds)
        return np.asarray(
            (stdtrit(freedom, 1 - level / 2) + stdtrit(freedom, POWER)) * np.sqrt(variance)
            <= target
        )

    low, high = np.full(len(table), 1.0), np.full(len(table), float(MAX_SEEDS))
    never = ~settles(high)
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        found = settles(middle)
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return np.where(never, np.inf, high)
