"""Compute intervals of means and of ratios of paired samples."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Numbers = NDArray[np.float64]
VarianceTerm = tuple[float, float]  # a variance, and its degrees of freedom
CONFIDENCE = 0.95
TAILS = [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]
BOOTSTRAP_DRAWS = 2000
# Relative advantage that a process keeps while it lives, where a session cannot estimate it.
PROCESS_DEVIATION = 0.01
ROWS_AT_ONCE = 500  # of a bootstrap, to bound its memory


class Interval(NamedTuple):
    """A mean and its 95 % interval; `basis` says what was sampled."""

    value: float
    low: float
    high: float
    basis: str

    @property
    def half(self) -> float:
        """Return half the width of the interval."""
        return (self.high - self.low) / 2


def welch_satterthwaite(terms: Sequence[VarianceTerm]) -> tuple[float, float]:
    """Return half the 95 % interval of a sum of independent terms, and its degrees of freedom."""
    usable = [one for one in terms if np.isfinite(one[0]) and one[1] > 0]
    if not usable:
        return float("nan"), 0.0
    total = sum(variance for variance, _ in usable)
    if total == 0:
        return 0.0, float("inf")
    scale = sum(variance**2 / freedom for variance, freedom in usable)
    freedom = total**2 / scale if scale else float("inf")
    return float(stdtrit(freedom, TAILS[1]) * np.sqrt(total)), freedom


def mean_interval(
    seeds: Numbers, document_variance: float = float("nan"), documents: float = 0.0
) -> Interval:
    """Return the mean over seeds with a t interval widened by the documents' variance.

    With one seed the interval is over documents alone.
    """
    if not (count := len(seeds)):
        return Interval(float("nan"), float("nan"), float("nan"), "nothing")
    mean, of_seeds = float(np.mean(seeds)), (float("nan"), 0.0)
    if count > 1:
        of_seeds = float(np.var(seeds, ddof=1)) / count, count - 1.0
    half, _ = welch_satterthwaite([of_seeds, (document_variance, documents - 1.0)])
    sampled = {"seeds": count > 1, "documents": np.isfinite(document_variance)}
    basis = " and ".join(name for name, is_sampled in sampled.items() if is_sampled)
    return Interval(mean, mean - half, mean + half, basis or "nothing")


class Ratio(NamedTuple):
    """The ratio of two rates over shared rounds: median and geometric mean, 95 % intervals.

    Of several processes: the geometric mean of each one's median, and of each one's mean.
    """

    value: float
    low: float
    high: float
    mean: float
    mean_low: float
    mean_high: float
    rounds: int

    @property
    def half(self) -> float:
        """Return half the width of the interval."""
        return (self.high - self.low) / 2

    @property
    def agree(self) -> bool:
        """Return whether median and mean agree; else some rounds were disturbed."""
        return self.low <= self.mean_high and self.mean_low <= self.high

    def side_beyond(self, bound: float = 1.0) -> int:
        """Return 1 where clearly above a bound, −1 where clearly below its inverse, else 0."""
        return (self.low > bound) - (self.high < 1 / bound) if self.agree else 0


def _from_logs(logs: Sequence[float] | Numbers, rounds: int) -> Ratio:
    """Return the Ratio whose six numbers have these logarithms."""
    value, low, high, mean, mean_low, mean_high = (float(number) for number in np.exp(logs))
    return Ratio(value, low, high, mean, mean_low, mean_high, rounds)


@lru_cache(maxsize=16)
def _resamples(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Numbers]:
    """Draw `count` from `count` BOOTSTRAP_DRAWS times, as ranks: one sort serves every row.

    Return the ranks of the lower and the upper middle sample, (draws,) each, and how often each
    rank was drawn as a share, (draws, count).
    """
    random, draws = np.random.default_rng(0), BOOTSTRAP_DRAWS
    picks = np.sort(random.integers(0, count, size=(draws, count)), axis=1)
    flat = (picks + np.arange(draws)[:, None] * count).ravel()
    weights = np.bincount(flat, minlength=draws * count).reshape(draws, count) / count
    return picks[:, (count - 1) // 2], picks[:, count // 2], weights


def _bootstrap_ratios(logarithms: Numbers) -> Iterator[Ratio]:
    """Yield a Ratio for each row of (rows, rounds)."""
    count = logarithms.shape[1]
    for first in range(0, len(logarithms), ROWS_AT_ONCE):
        ordered = np.sort(logarithms[first : first + ROWS_AT_ONCE], axis=1)
        medians = means = np.full((2, len(ordered)), np.nan)  # one round has no interval
        if count > 1:
            lower, upper, weights = _resamples(count)
            medians = np.quantile((ordered[:, lower] + ordered[:, upper]) / 2, TAILS, axis=1)
            means = np.quantile(ordered @ weights.T, TAILS, axis=1)
        rows = np.vstack([np.median(ordered, axis=1), medians, ordered.mean(axis=1), means]).T
        yield from (_from_logs(row, count) for row in rows)


def _ratio_over_processes(logarithms: Numbers, processes: Numbers) -> Ratio:
    """Return the Ratio of rounds of several processes: a t interval over one number of each.

    A process keeps an advantage while it lives, so that its rounds are not independent.
    """
    groups = _by_process(logarithms, processes)
    scale = float(stdtrit(len(groups) - 1, TAILS[1])) / np.sqrt(len(groups))
    logs = list[float]()
    for average in (np.median, np.mean):
        of_each = np.array([average(group) for group in groups])
        value, half = float(of_each.mean()), scale * float(of_each.std(ddof=1))
        logs += [value, value - half, value + half]
    return _from_logs(logs, len(logarithms))


def _by_process(values: Numbers, processes: Numbers) -> list[Numbers]:
    return [values[processes == process] for process in np.unique(processes)]


def process_medians(ratios: Numbers, processes: Numbers) -> Numbers:
    """Return the median logarithm of each process's rounds; without those that lack a ratio."""
    valid = _is_valid(ratios)
    groups = _by_process(np.log(ratios[valid]), processes[valid])
    return np.array([np.median(group) for group in groups])


def ratio_within_processes(ratios: Numbers, between: VarianceTerm) -> Ratio | None:
    """Return the Ratio of a few rounds by one process of each; None without rounds.

    By a t interval of the logarithms: a bootstrap of so few would be far too narrow. `between` is
    the variance that persists while two processes live, which no round of theirs can show.
    """
    logarithms = np.log(ratios[_is_valid(ratios)])
    if not (count := len(logarithms)):
        return None
    half = float("nan")
    if count > 1:
        within = float(np.var(logarithms, ddof=1)) / count, count - 1.0
        half = welch_satterthwaite([within, between])[0]
    middle, mean = float(np.median(logarithms)), float(np.mean(logarithms))
    logs = [middle, middle - half, middle + half, mean, mean - half, mean + half]
    return _from_logs(logs, count)


def _is_valid(ratios: Numbers) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(ratios) & (ratios > 0))


def between_process_variance(
    ratios: Sequence[Numbers], processes: Sequence[Numbers]
) -> VarianceTerm:
    """Return the variance of a ratio between pairs of processes, pooled over lists of ratios."""
    squares, freedom = 0.0, 0.0
    for samples, takers in zip(ratios, processes, strict=True):
        medians = process_medians(samples, takers)
        squares += float(((medians - medians.mean()) ** 2).sum()) if len(medians) else 0.0
        freedom += max(0, len(medians) - 1)
    return (squares / freedom, freedom) if freedom else (2 * PROCESS_DEVIATION**2, float("inf"))


def paired_ratios(
    samples: Sequence[Numbers], processes: Sequence[Numbers] = ()
) -> list[Ratio | None]:
    """Return a Ratio for each list of ratios, one per round; None without rounds.

    `processes` names for each list the process that took each round. Where there were several the
    unit is the process, otherwise the round (by a bootstrap with a fixed seed): what disturbs the
    machine disturbs everyone in it. Medians are of logarithms, so that the ratio of b to a is the
    inverse of that of a to b.
    """
    ratios: list[Ratio | None] = [None] * len(samples)
    batches: dict[int, dict[int, Numbers]] = {}  # by the number of rounds: logarithms by place
    for place, sample in enumerate(samples):
        valid = _is_valid(sample)
        logs = np.log(sample[valid])
        takers = processes[place][valid] if len(processes) else np.empty(0)
        if len(np.unique(takers)) > 1:
            ratios[place] = _ratio_over_processes(logs, takers)
        elif len(logs):
            batches.setdefault(len(logs), {})[place] = logs
    for batch in batches.values():
        for place, ratio in zip(batch, _bootstrap_ratios(np.array([*batch.values()])), strict=True):
            ratios[place] = ratio
    return ratios


def aa_bound(pair: Ratio | None) -> float:
    """Return the factor that the interval of a ratio has to clear to be more than noise.

    It is the end farthest from 1 of the A/A pair's own intervals, of median and mean; infinite
    without a pair or without its intervals.
    """
    if pair is None:
        return float("inf")
    ends = np.log([pair.low, pair.high, pair.mean_low, pair.mean_high])
    return float(np.exp(np.abs(ends).max())) if np.isfinite(ends).all() else float("inf")
