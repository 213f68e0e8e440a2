"""Intervals of means over seeds and over held-out documents; ratios of paired samples. Differences of means: `pairs`."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Numbers = NDArray[np.float64]
CONFIDENCE = 0.95
AA_BOUNDS = (
    0.97,
    1.03,
)  # an A/A pair must lie inside, or the clock of this machine decides nothing today
BOOTSTRAP_DRAWS = 2000  # of a bootstrap
PROCESS_DEVIATION = 0.01  # the advantage that a process keeps while it lives, where a sitting does not tell: as its deviation
ROWS_AT_ONCE = (
    500  # rows that are drawn from at once: more would take the memory of a small machine
)


class Interval(NamedTuple):
    """A mean and its 95 % interval; `basis` says what was sampled."""

    value: float
    low: float
    high: float
    basis: str

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


VarianceTerm = tuple[float, float]  # a variance, and its degrees of freedom


def welch_satterthwaite(parts: Sequence[VarianceTerm]) -> tuple[float, float]:
    """Half-width of the 95 % interval of a sum of (variance, degrees of freedom), and its own freedom (Welch–Satterthwaite)."""
    known = [
        (variance, freedom) for variance, freedom in parts if np.isfinite(variance) and freedom > 0
    ]
    total = sum(variance for variance, _ in known)
    if not known:
        return float("nan"), 0.0
    if total == 0:
        return 0.0, float("inf")
    loose = sum(variance**2 / freedom for variance, freedom in known)
    freedom = total**2 / loose if loose else float("inf")
    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2) * np.sqrt(total)), freedom


def mean_interval(
    seeds: Numbers, document_variance: float = float("nan"), documents: float = 0.0
) -> Interval:
    """Mean over seeds, with the seeds' t interval widened by the documents' variance; one seed leaves the documents alone."""
    count = len(seeds)
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), "nothing")
    mean = float(np.mean(seeds))
    seed_part = (
        (float(np.var(seeds, ddof=1)) / count, count - 1.0) if count > 1 else (float("nan"), 0.0)
    )
    half, _ = welch_satterthwaite([seed_part, (document_variance, documents - 1.0)])
    basis = [
        name
        for name, there in (("seeds", count > 1), ("documents", np.isfinite(document_variance)))
        if there
    ]
    return Interval(mean, mean - half, mean + half, " and ".join(basis) or "nothing")


class Ratio(NamedTuple):
    """The ratio of two rates over the rounds that both took part in: its median and its geometric mean, with 95 % intervals.

    Of several processes: the geometric mean of each one's median, and of each one's geometric mean.
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
        return (self.high - self.low) / 2

    @property
    def agree(self) -> bool:
        """Whether median and geometric mean say the same: where they do not, some rounds were disturbed, and which is unknown."""
        return self.low <= self.mean_high and self.mean_low <= self.high

    @property
    def side(self) -> int:
        """1 where it is clearly above 1, −1 clearly below, 0 where this can not be told."""
        return (self.low > 1) - (self.high < 1) if self.agree else 0


@lru_cache(maxsize=16)
def _resamples(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Numbers]:
    """Draws of `count` from `count`: the places of the lower and the upper middle one in order, and how often each was drawn.

    Drawing places instead of samples lets one sorting serve every row: (draws,), (draws,), (draws, count).
    """
    picks = np.sort(
        np.random.default_rng(0).integers(0, count, size=(BOOTSTRAP_DRAWS, count)), axis=1
    )
    rows = np.arange(BOOTSTRAP_DRAWS)[:, None] * count
    weights = (
        np.bincount((picks + rows).ravel(), minlength=BOOTSTRAP_DRAWS * count).reshape(
            BOOTSTRAP_DRAWS, count
        )
        / count
    )
    return picks[:, (count - 1) // 2], picks[:, count // 2], weights


def _bootstrap_ratios(logarithms: Numbers) -> Iterator[Ratio]:
    """A Ratio for each row of (rows, rounds)."""
    count, ends = logarithms.shape[1], [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]
    for first in range(0, len(logarithms), ROWS_AT_ONCE):
        ordered = np.sort(logarithms[first : first + ROWS_AT_ONCE], axis=1)
        middle, mean = np.median(ordered, axis=1), ordered.mean(axis=1)
        spans = np.full((4, len(ordered)), np.nan)  # one round knows nothing of its neighbours
        if count > 1:
            lower, upper, weights = _resamples(count)
            spans[:2] = np.quantile((ordered[:, lower] + ordered[:, upper]) / 2, ends, axis=1)
            spans[2:] = np.quantile(ordered @ weights.T, ends, axis=1)
        for row in np.exp(np.vstack([middle, spans[:2], mean, spans[2:]])).T:
            value, low, high, center, center_low, center_high = (float(number) for number in row)
            yield Ratio(value, low, high, center, center_low, center_high, count)


def _ratio_over_processes(logarithms: Numbers, processes: Numbers) -> Ratio:
    """The Ratio of rounds that were taken by several processes: each one gives one number, and their spread the t interval.

    A process keeps an advantage of its own while it lives, so that rounds within one are not independent.
    """
    groups = [logarithms[processes == process] for process in np.unique(processes)]
    scale = float(stdtrit(len(groups) - 1, 0.5 + CONFIDENCE / 2)) / np.sqrt(len(groups))
    logs = list[float]()
    for each in (
        np.array([np.median(group) for group in groups]),
        np.array([np.mean(group) for group in groups]),
    ):
        value, half = float(each.mean()), scale * float(each.std(ddof=1))
        logs += [value, value - half, value + half]
    middle, low, high, mean, mean_low, mean_high = (float(number) for number in np.exp(logs))
    return Ratio(middle, low, high, mean, mean_low, mean_high, len(logarithms))


def ratio_within_processes(ratios: Numbers, kept: VarianceTerm) -> Ratio | None:
    """The Ratio of a few rounds that one process of each took; None where there is no round.

    A t interval of the logarithms, for a bootstrap of so few would be far too narrow; `kept` is the variance of what a ratio
    keeps as long as its two processes live, which no round of theirs can show.
    """
    logarithms = np.log(ratios[np.isfinite(ratios) & (ratios > 0)])
    if not (count := len(logarithms)):
        return None
    own = (float(np.var(logarithms, ddof=1)) / count, count - 1.0) if count > 1 else None
    half = welch_satterthwaite([own, kept])[0] if own else float("nan")
    middle, mean = float(np.median(logarithms)), float(np.mean(logarithms))
    value, low, high, center, center_low, center_high = (
        float(number)
        for number in np.exp([middle, middle - half, middle + half, mean, mean - half, mean + half])
    )
    return Ratio(value, low, high, center, center_low, center_high, count)


def between_process_variance(
    ratios: Sequence[Numbers], processes: Sequence[Numbers]
) -> VarianceTerm:
    """The variance of what a ratio keeps as long as its two processes live, with its freedom: pooled over lists of ratios."""
    squares, freedom = 0.0, 0.0
    for each, takers in zip(ratios, processes, strict=True):
        sound = np.isfinite(each) & (each > 0)
        groups = [np.log(each[sound & (takers == one)]) for one in np.unique(takers[sound])]
        medians = np.array([np.median(group) for group in groups])
        squares += float(((medians - medians.mean()) ** 2).sum()) if len(medians) else 0.0
        freedom += max(0, len(medians) - 1)
    return (squares / freedom, freedom) if freedom else (2 * PROCESS_DEVIATION**2, float("inf"))


def paired_ratios(
    samples: Sequence[Numbers], processes: Sequence[Numbers] = ()
) -> list[Ratio | None]:
    """A Ratio for each list of ratios, one a round; None where there is no round. Always the same for the same samples.

    `processes`, for each list: which process, one after another, took each round. Where there were several the unit is the
    process, otherwise the round (by a bootstrap): what disturbs the machine disturbs everyone in it. Medians are taken of
    logarithms, so that the ratio of b to a is the inverse of that of a to b.
    """
    found: list[Ratio | None] = [None] * len(samples)
    sound = [np.isfinite(one) & (one > 0) for one in samples]
    kept = [np.log(one[there]) for one, there in zip(samples, sound, strict=True)]
    by_process = (
        [process[there] for process, there in zip(processes, sound, strict=True)]
        if len(processes)
        else []
    )
    for place, process in enumerate(by_process):
        if len(np.unique(process)) > 1:
            found[place] = _ratio_over_processes(kept[place], process)
    for count in {len(one) for one in kept} - {0}:
        places = [
            place for place, one in enumerate(kept) if len(one) == count and found[place] is None
        ]
        if places:
            for place, ratio in zip(
                places, _bootstrap_ratios(np.array([kept[place] for place in places])), strict=True
            ):
                found[place] = ratio
    return found


def paired_ratio(samples: Numbers) -> Ratio | None:
    """The Ratio of one list of ratios, one a round; None where there is no round."""
    return paired_ratios([samples])[0]


def aa_allows_claims(pair: Ratio | None) -> bool:
    """Whether an A/A pair allows a claim about speed."""
    return (
        pair is not None and AA_BOUNDS[0] <= pair.low and pair.high <= AA_BOUNDS[1] and pair.agree
    )


def pareto_front(cost: Numbers, loss: Numbers) -> NDArray[np.bool_]:
    """Which points no other one beats in both (lower is better in both); equal points stay together."""
    less = (cost[None, :] <= cost[:, None]) & (loss[None, :] <= loss[:, None])
    strictly = (cost[None, :] < cost[:, None]) | (loss[None, :] < loss[:, None])
    return ~np.asarray((less & strictly).any(axis=1), dtype=bool)
