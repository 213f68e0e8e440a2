"""Test pairs of groups whose seeds are paired: the same labels and prompts for every group."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from bench.stats.intervals import Numbers, welch_satterthwaite
from bench.stats.pairwise import ALPHA, shaffer

PAIR_COLUMNS = "first second difference half p adjusted seeds claimed control".split()


def paired_tests(
    scores: Numbers, prompts: Numbers | None = None, controls: Sequence[tuple[int, int]] = ()
) -> pd.DataFrame:
    """Test all pairs of G groups with a score per seed, (G, S), NaN where there is none.

    Seeds are paired where both groups have them, and independent in `controls`, pairs of a group
    and the same group with other seeds: these are outside the family and the correction (Shaffer
    1986). `prompts` (G, M): the mean of each prompt over seeds; the variance of the paired
    difference over prompts then adds to that over seeds (Welch–Satterthwaite).

    Return a row per pair: `difference` is first less second, `half` of its 95 % interval, `p`,
    `adjusted`, `seeds` that both have, `claimed`, `control`.
    """
    seconds = {second for _, second in controls}
    family = [pair for pair in combinations(range(len(scores)), 2) if not seconds & {*pair}]
    rows = [_pair_row(_PairData.paired(scores, pair), prompts, pair) for pair in family]
    rows += [_pair_row(_PairData.independent(scores, pair), prompts, pair) for pair in controls]
    table = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    table["control"] = np.arange(len(rows)) >= len(family)
    table["adjusted"] = _adjusted(table)
    table["claimed"] = (table["adjusted"] <= ALPHA) & ~table["control"]
    return table


def _adjusted(table: pd.DataFrame) -> pd.Series:
    """Return the p values, those of the family corrected for the number of its pairs."""
    adjusted, tested = table["p"].copy(), ~table["control"] & table["p"].notna()
    if tested.any():
        groups = len(np.unique(table.loc[tested, ["first", "second"]]))
        adjusted[tested] = shaffer(table.loc[tested, "p"].to_numpy(dtype=float), groups)
    return adjusted


class _PairData(NamedTuple):
    """What is compared of a pair: a difference of means, and what it varies from."""

    seeds: int
    difference: float
    terms: list[tuple[float, float]]  # variance of a mean, and its degrees of freedom

    @classmethod
    def paired(cls, scores: Numbers, pair: tuple[int, int]) -> "_PairData":
        """Compare seed by seed, those that both have."""
        gaps = scores[pair[0]] - scores[pair[1]]
        gaps = gaps[np.isfinite(gaps)]
        return cls(len(gaps), gaps.mean() if len(gaps) else np.nan, [_mean_term(gaps)])

    @classmethod
    def independent(cls, scores: Numbers, pair: tuple[int, int]) -> "_PairData":
        """Compare the means of different seeds."""
        first, second = (scores[place][np.isfinite(scores[place])] for place in pair)
        count = min(len(first), len(second))
        difference = first.mean() - second.mean() if count else np.nan
        return cls(count, difference, [_mean_term(first), _mean_term(second)])


def _pair_row(data: _PairData, prompts: Numbers | None, pair: tuple[int, int]) -> dict[str, float]:
    """Return the interval and the test of a pair; none for a single seed."""
    row = {"first": pair[0], "second": pair[1], "seeds": data.seeds, "difference": data.difference}
    if data.seeds < 2:
        return row | {"half": np.nan, "p": np.nan}
    terms = list(data.terms)
    if prompts is not None:
        terms.append(_mean_term(prompts[pair[0]] - prompts[pair[1]]))
    half, freedom = welch_satterthwaite(terms)
    error = np.sqrt(np.nansum([variance for variance, _ in terms]))
    statistic = abs(data.difference) / error if error > 0 else 0.0
    return row | {"half": half, "p": float(2 * stdtr(freedom, -statistic))}


def _mean_term(values: Numbers) -> tuple[float, float]:
    """Return the variance of a mean, and its degrees of freedom."""
    if len(values) < 2:
        return float("nan"), 0.0
    return float(values.var(ddof=1) / len(values)), len(values) - 1.0
