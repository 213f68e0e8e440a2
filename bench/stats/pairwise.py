"""Test whether one group is better than another, for all pairs of a table at once.

The seed is the unit. To the seed variance of both groups (`bench.stats.variance`) the documents'
variance of the paired difference is added (Welch–Satterthwaite). Claims are corrected over the
family of all pairs (Shaffer 1986). One seed decides a claimed difference where P(A beats B) over
pairs of seeds stays under 0.75 (Bouthillier et al. 2021). `python -m tests.stats.calibration`
simulates error rates, coverage and power under unlike variances.
"""

from collections.abc import Sequence
from functools import cache, reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.stats.intervals import CONFIDENCE, Numbers
from bench.stats.variance import (
    Spread,
    VarianceSources,
    document_variances,
    effective_n,
    group_means,
    seed_sums,
)

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 1 - CONFIDENCE
POWER = 0.8  # with which a difference of the size called detectable is found
DECIDED_WIN_RATE = 0.75  # from which one seed does not decide
MAX_SEEDS = 1000  # that are considered to settle a difference
BETTER, ONE_SEED_DECIDES = "better", "one seed decides"
NOT_DISTINGUISHABLE, UNKNOWN = "not distinguishable", "unknown"


class Groups(NamedTuple):
    """The scores of G groups: the first arguments of `pairwise_tests`."""

    seeds: Sequence[Numbers]  # per group: the score of each seed
    nats: Numbers  # (G, documents), mean over seeds; a row of NaN without the same documents
    sizes: Numbers  # (documents,) bytes


def pairwise_tests(
    seeds: Sequence[Numbers],
    document_nats: Numbers | None = None,
    document_bytes: Numbers | None = None,
    aa_pairs: Sequence[tuple[int, int]] = (),
) -> "pd.DataFrame":
    """Test all pairs of G groups; lower scores are better.

    `seeds` holds the score of each seed per group; `document_nats` (G, documents) the nats of each
    document, meaned over seeds, and `document_bytes` (documents,) its size. `aa_pairs` are (group,
    the same group again); the second of each is in no pool, no family and no other pair.

    Return one row per pair: `first` (the lower mean), `second`, `difference` ≥ 0 and `half` of its
    95 % interval, `p`, `adjusted` (Shaffer), `wins` (P(first beats second) over pairs of seeds),
    `detectable`, `needed` (seeds per group to settle what is not distinguishable), `kind`, `basis`,
    `control`, `level`.
    """
    sizes = np.empty(0) if document_bytes is None else document_bytes
    nats = np.empty((len(seeds), 0)) if document_nats is None else document_nats
    sources = _variance_sources(Groups(seeds, nats, sizes), aa_pairs)
    ends = sources.ends
    means = group_means(seeds)[ends]
    import pandas as pd  # slow to import

    table = pd.DataFrame({"first": ends[0], "second": ends[1], "difference": means[1] - means[0]})
    table["control"] = np.arange(ends.shape[1]) >= ends.shape[1] - len(aa_pairs)
    _add_tests(table, sources)
    table["wins"] = [_win_rate(seeds[first], seeds[second]) for first, second in ends.T]
    _add_verdicts(table, sources)
    return table


def _variance_sources(groups: Groups, aa_pairs: Sequence[tuple[int, int]]) -> VarianceSources:
    """Return what the difference of each pair varies from; the A/A pairs are the last."""
    seeds = groups.seeds
    repeated = np.isin(np.arange(len(seeds)), [second for _, second in aa_pairs])
    ends = _pairs(seeds, repeated, aa_pairs)
    pools = np.tile(~repeated, (ends.shape[1], 1))
    np.put_along_axis(pools, ends.T, False, axis=1)
    documents = document_variances(groups.nats, groups.sizes)[tuple(ends)]
    return VarianceSources(*seed_sums(seeds), ends, pools, documents, effective_n(groups.sizes))


def _pairs(
    seeds: Sequence[Numbers], repeated: NDArray[np.bool_], aa_pairs: Sequence[tuple[int, int]]
) -> NDArray[np.intp]:
    """Return the groups of each pair, (2, pairs): the lower mean first, the A/A pairs last."""
    ends = np.stack(np.triu_indices(len(seeds), 1))
    ends = ends[:, ~repeated[ends].any(axis=0)]
    ends = np.hstack([ends, np.array(aa_pairs, dtype=np.intp).reshape(-1, 2).T])
    means = group_means(seeds)[ends]
    return np.where(means[0] > means[1], ends[::-1], ends)


def _add_tests(table: "pd.DataFrame", sources: VarianceSources) -> None:
    """Add `half`, `p`, `adjusted`, `level`, `detectable` and `basis`."""
    spread = sources.spread()
    table["half"] = spread.half
    table["p"], by_interval = spread.p_values(table["difference"].to_numpy(dtype=float))
    _correct(table, sources)
    table["adjusted"] = np.maximum(table["adjusted"], by_interval)
    table["detectable"] = detectable_difference(table["level"].to_numpy(dtype=float), spread)
    by_seeds, by_documents = (sources.counts > 1).any(), np.isfinite(sources.documents)
    bases = [table["p"].isna().to_numpy(), by_documents & by_seeds, by_documents]
    table["basis"] = np.select(bases, ["", "seeds and documents", "documents"], "seeds")


def _add_verdicts(table: "pd.DataFrame", sources: VarianceSources) -> None:
    """Add `kind` and `needed`."""
    claimed, decided = table["adjusted"] <= ALPHA, table["wins"] >= DECIDED_WIN_RATE
    conditions = [table["p"].isna(), ~claimed, ~decided]
    table["kind"] = np.select(conditions, [UNKNOWN, NOT_DISTINGUISHABLE, ONE_SEED_DECIDES], BETTER)
    unsettled = (table["kind"] == NOT_DISTINGUISHABLE).to_numpy()
    table["needed"] = np.nan
    table.loc[unsettled, "needed"] = _needed_seeds(table[unsettled], sources.select(unsettled))


def _correct(table: "pd.DataFrame", sources: VarianceSources) -> None:
    """Add `adjusted`, and the `level` at which what was not claimed had to be claimed."""
    family = (~table["control"] & table["p"].notna()).to_numpy()
    groups = len(np.unique(sources.ends[:, family]))
    table["adjusted"] = table["p"]
    table.loc[family, "adjusted"] = shaffer(table.loc[family, "p"].to_numpy(dtype=float), groups)
    unclaimed = int((family & (table["adjusted"] > ALPHA)).sum())
    equal = max((count for count in possible_equal(groups) if count <= unclaimed), default=1)
    table["level"] = np.where(table["control"], ALPHA, ALPHA / max(1, equal))


def detectable_difference(level: Numbers, spread: Spread) -> Numbers:
    """Return the difference that is found at `level` with probability POWER."""
    claim = np.maximum(
        stdtrit(spread.freedom, 1 - level / 2), stdtrit(spread.interval_freedom, 1 - ALPHA / 2)
    )
    return np.asarray((claim + stdtrit(spread.freedom, POWER)) * np.sqrt(spread.variance))


@cache
def possible_equal(groups: int) -> tuple[int, ...]:
    """Return how many of all pairs of groups can be equal at once, ascending (Shaffer 1986)."""
    sets = [1]  # for 0, 1, … groups: bit n says whether n pairs can be equal
    for count in range(1, groups + 1):
        sizes = range(1, count + 1)  # of one set of equal groups
        sets.append(reduce(or_, (sets[count - n] << n * (n - 1) // 2 for n in sizes)))
    return tuple(n for n, bit in enumerate(reversed(f"{sets[groups]:b}")) if bit == "1")


def shaffer(p: Numbers, groups: int) -> Numbers:
    """Return the p values of all pairs of groups adjusted for their number (Shaffer 1986, S1).

    Holm's procedure with the largest number of pairs that can still be equal in place of the number
    that is left: valid under any dependence.
    """
    order, equal = np.argsort(p, kind="stable"), np.array(possible_equal(groups))
    left = np.arange(len(p), 0, -1)
    factor = np.maximum(equal[np.searchsorted(equal, left, side="right") - 1], 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factor), 1.0)
    return adjusted


def _win_rate(first: Numbers, second: Numbers) -> float:
    """Return P(a seed of `first` is lower than one of `second`), ties counted half."""
    if not len(first) or not len(second):
        return float("nan")
    below = first[:, None] < second[None, :]
    return float((below + 0.5 * (first[:, None] == second[None, :])).mean())


def _needed_seeds(table: "pd.DataFrame", sources: VarianceSources) -> Numbers:
    """Return the seeds per group that would settle each difference; inf beyond MAX_SEEDS."""
    target = table["difference"].to_numpy(dtype=float)
    level = table["level"].to_numpy(dtype=float)
    low, high = np.full(len(table), 1.0), np.full(len(table), float(MAX_SEEDS))
    never = ~(detectable_difference(level, sources.spread(high)) <= target)
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        settled = detectable_difference(level, sources.spread(middle)) <= target
        low, high = np.where(settled, low, middle), np.where(settled, middle, high)
    return np.where(never, np.inf, high)
