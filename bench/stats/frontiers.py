"""Frontiers: the Pareto front, and reward against KL with forms of over-optimisation. No I/O.

KL is in nats per response. Gao, Schulman & Hilton 2022, arXiv:2210.10760.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from bench.stats.intervals import Numbers


def pareto_front(cost: Numbers, loss: Numbers) -> NDArray[np.bool_]:
    """Return which points no other beats in both (lower is better); equal points stay."""
    less = (cost[None, :] <= cost[:, None]) & (loss[None, :] <= loss[:, None])
    strictly = (cost[None, :] < cost[:, None]) | (loss[None, :] < loss[:, None])
    return ~np.asarray((less & strictly).any(axis=1), dtype=bool)


def best_of_n_kl(n: Numbers | int) -> Numbers:
    """Return the KL from the start of taking the best of n: an upper bound where outcomes tie.

    log n - (n - 1)/n (Nakano et al. 2021); equal for distinct outcomes of equal probability.
    """
    count = np.asarray(n, dtype=float)
    return np.log(count) - (count - 1) / count


def best_of_n_weights(count: int, n: int) -> Numbers:
    """Return the probability that the best of n out of `count` is each one, ascending, (count,)."""
    rank = np.arange(
        n, count + 1, dtype=float
    )  # from the n-th on: C(rank - 1, n - 1) / C(count, n)
    chosen = _log_choose(rank - 1, n - 1) - _log_choose(np.array(float(count)), n)
    return np.concatenate([np.zeros(n - 1), np.exp(chosen)])


def _log_choose(total: Numbers, part: int) -> Numbers:
    return np.asarray(gammaln(total + 1) - gammaln(part + 1) - gammaln(total - part + 1))


def best_of_n(values: Numbers, proxies: Numbers, n: int) -> Numbers:
    """Return the expected value of the best of n by its proxy, for each row of (N, samples): (N,).

    By order statistics over all samples: no draw of n of them.
    """
    order = np.argsort(proxies, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1) @ best_of_n_weights(values.shape[1], n)


def value_at_kl(kl: Numbers, values: Numbers, at: float) -> float:
    """Return the value at a KL, linear in √KL between points; NaN beyond the last point.

    The points must include the start, KL 0.
    """
    order = np.argsort(kl, kind="stable")
    roots, heights = np.sqrt(np.maximum(kl[order], 0.0)), values[order]
    return float(np.interp(np.sqrt(at), roots, heights, right=np.nan))


class FrontierFit(NamedTuple):
    """A form of over-optimisation, fitted to gains: gain = √KL·(slope - bend·g(√KL))."""

    form: str
    slope: float
    bend: float
    r_squared: float
    peak_kl: float  # KL of the largest gain; infinite where the fit never turns


FORMS: dict[str, Callable[[Numbers], Numbers]] = {
    "best_of": lambda d: d,  # d·(α - β·d)
    "rl": np.log,  # d·(α - β·log d)
}


def fit_frontier(form: str, kl: Numbers, gains: Numbers) -> FrontierFit | None:
    """Fit a form of Gao et al. by least squares; None for fewer than three points beyond KL 0."""
    distance, gain = np.sqrt(kl[kl > 0]), gains[kl > 0]
    if len(distance) < 3:
        return None
    design = np.stack([distance, -distance * FORMS[form](distance)], axis=1)
    (slope, bend), *_ = np.linalg.lstsq(design, gain, rcond=None)
    total = float(np.square(gain - gain.mean()).sum())
    left = float(np.square(gain - design @ [slope, bend]).sum())
    r_squared = 1 - left / total if total > 0 else float("nan")
    return FrontierFit(form, float(slope), float(bend), r_squared, _peak(form, slope, bend))


def _peak(form: str, slope: float, bend: float) -> float:
    """Return the KL at which a fitted gain is largest."""
    if bend <= 0:
        return float("inf")
    return float(slope / (2 * bend) if form == "best_of" else np.exp(slope / bend - 1)) ** 2


def labels_needed(sizes: Sequence[int], scores: Sequence[float], target: float) -> float:
    """Return the number of labels at which a curve first reaches a score, linear in log labels.

    NaN where it never does.
    """
    place = next((place for place, score in enumerate(scores) if score >= target), -1)
    if place <= 0:
        return float(sizes[0]) if place == 0 else float("nan")
    logs = np.log(np.asarray(sizes, dtype=float))
    share = (target - scores[place - 1]) / (scores[place] - scores[place - 1])
    return float(np.exp(logs[place - 1] + share * (logs[place] - logs[place - 1])))
