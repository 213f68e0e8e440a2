"""Test pairs of groups whose seeds are paired: the same labels and prompts for every group."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr

from bench.stats.intervals import Numbers, welch_satterthwaite
from bench.stats.pairwise import ALPHA, shaffer

if TYPE_CHECKING:
    import pandas as pd

PAIR_COLUMNS = "first second difference half p adjusted seeds claimed control".split()


def paired_tests(
    scores: Numbers, prompts: Numbers | None = None, controls: Sequence[tuple[int, int]] = ()
) -> "pd.DataFrame":
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
    rows = [_test((a, b), [scores[a] - scores[b]], prompts) for a, b in family]
    rows += [_test((a, b), [scores[a], scores[b]], prompts) for a, b in controls]
    import pandas as pd  # slow to import

    table = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    table["control"] = np.arange(len(rows)) >= len(family)
    table["adjusted"] = _adjusted(table)
    table["claimed"] = (table["adjusted"] <= ALPHA) & ~table["control"]
    return table


def _adjusted(table: "pd.DataFrame") -> "pd.Series":
    """Return the p values, those of the family corrected for the number of its pairs."""
    adjusted, tested = table["p"].copy(), ~table["control"] & table["p"].notna()
    if tested.any():
        groups = len(np.unique(table.loc[tested, ["first", "second"]]))
        adjusted[tested] = shaffer(table.loc[tested, "p"].to_numpy(dtype=float), groups)
    return adjusted


def _test(
    pair: tuple[int, int], samples: Sequence[Numbers], prompts: Numbers | None
) -> dict[str, float]:
    """Return the interval and the test of a pair, of differences or two samples."""
    samples = [values[np.isfinite(values)] for values in samples]
    seeds = min(map(len, samples))
    difference = samples[0].mean() - sum(own.mean() for own in samples[1:]) if seeds else np.nan
    terms = [*map(_mean_term, samples)]
    if prompts is not None:
        terms.append(_mean_term(prompts[pair[0]] - prompts[pair[1]]))
    interval = _interval(difference, terms) if seeds > 1 else (np.nan, np.nan)  # none of one seed
    values = (*pair, difference, *interval, np.nan, seeds)
    return dict(zip(PAIR_COLUMNS, values, strict=False))


def _interval(difference: float, terms: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return half the 95 % interval of a difference, and its p value."""
    half, freedom = welch_satterthwaite(terms)
    error = np.sqrt(np.nansum([variance for variance, _ in terms]))
    statistic = abs(difference) / error if error > 0 else 0.0
    return half, float(2 * stdtr(freedom, -statistic))


def _mean_term(values: Numbers) -> tuple[float, float]:
    if len(values) < 2:
        return float("nan"), 0.0
    return float(values.var(ddof=1) / len(values)), len(values) - 1.0
