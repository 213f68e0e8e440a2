"""Fit loss = E + A·N^−a + B·D^−b for N parameters and D tokens (Hoffmann et al. 2022).

Residuals are of the logarithm of the loss. Intervals come from a parametric bootstrap over points:
each draw adds fresh normal residuals to the fitted law and fits again. Their variance is drawn too,
since few points determine it only roughly.
"""

from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from bench.stats.intervals import TAILS, Numbers

DRAWS = 500
SIZE, DATA, FLOPS = "parameters", "tokens", "training FLOPs"
AXES = (SIZE, DATA, FLOPS)
MIN_SIZES, MIN_AMOUNTS = 3, 3  # different values along each axis
SPARE_POINTS = 3  # points more than unknowns, at least
HORIZON = 100.0  # a law is extrapolated to this multiple of the largest measured value
LOG_BOUNDS = (-30.0, 3.0)  # of the logarithms of E, A, a, B, b
NAMES = ("E", "A", "a", "B", "b")
NEGLIGIBLE = 1e-6  # a number below it was driven to the lower bound, on the way to 0
GRID_POINTS = 400  # along an axis, where two laws are compared
START_EXPONENTS = (0.1, 0.3, 1.0)
START_FLOORS = (0.2, 0.6, 0.9)  # shares of the lowest loss


class ScalingLaw(NamedTuple):
    """A fitted law: the five numbers E, A, a, B, b."""

    best: Numbers  # (5,)
    draws: Numbers  # (draws, 5): of the bootstrap
    center: tuple[float, float]  # N and D in units of which A and B are given
    floor_given: bool  # E was known, not fitted
    spread: float  # standard deviation of the residuals of the logarithm
    cells: int  # points
    cost: float = float("nan")  # training FLOPs per parameter and token

    def interval(self, index: int) -> tuple[float, float, float]:
        """Return one of E, A, a, B, b with its 95 % interval."""
        low, high = np.quantile(self.draws[:, index], TAILS)
        return float(self.best[index]), float(low), float(high)

    @property
    def at_bound(self) -> tuple[str, ...]:
        """Return which of E, A, a, B, b the fit puts at a bound: the points do not determine them.

        A law without one of its terms must not be extrapolated.
        """
        high = 0.999 * float(np.exp(LOG_BOUNDS[1]))
        ends = [not NEGLIGIBLE < value < high for value in self.best]
        ends[0] &= not self.floor_given
        return tuple(name for name, at_end in zip(NAMES, ends, strict=True) if at_end)

    def along(self, axis: str, places: Numbers, fixed: float, drawn: bool = False) -> Numbers:
        """Return the loss along one of AXES, (1, places), or (draws, places) where `drawn`.

        The other of size and data is `fixed`; along FLOPs, each place has its best split.
        """
        floor, of_size, a, of_data, b = self._rows(drawn)
        if axis == FLOPS:
            n, d = self._split(places, drawn)
        else:
            size, tokens = (places, fixed) if axis == SIZE else (fixed, places)
            n, d = np.log(size / self.center[0]), np.log(tokens / self.center[1])
        return np.asarray(floor + of_size * np.exp(-a * n) + of_data * np.exp(-b * d))

    def split(self, flops: float) -> tuple[float, float]:
        """Return the parameters and the tokens that make the best use of a number of FLOPs."""
        n, d = self._split(np.array([flops]), False)
        return float(np.exp(n[0, 0])) * self.center[0], float(np.exp(d[0, 0])) * self.center[1]

    def _rows(self, drawn: bool) -> Numbers:
        """Return E, A, a, B, b, each (rows, 1): of the draws, or the best alone."""
        return np.asarray((self.draws if drawn else self.best[None]).T[:, :, None])

    def _split(self, flops: Numbers, drawn: bool) -> tuple[Numbers, Numbers]:
        """Return log N and log D over the center at the best split, where both slopes are equal."""
        _, of_size, a, of_data, b = self._rows(drawn)
        both = np.log(flops / (self.cost * self.center[0] * self.center[1]))[None, :]
        n = (np.log(a * of_size / (b * of_data)) + b * both) / (a + b)
        return n, both - n


class TooFewPoints(Exception):
    """Too few points for a law; the message says which are missing."""


class _Points(NamedTuple):
    """What is fitted: sizes and tokens over their centers, losses, and the floor where known."""

    n: Numbers
    d: Numbers
    losses: Numbers
    floor: float | None


def fit_scaling_law(
    sizes: Numbers, tokens: Numbers, losses: Numbers, floor: float | None = None
) -> ScalingLaw:
    """Fit the law of one architecture to the mean loss of each point; `floor` is E where known.

    Raise TooFewPoints.
    """
    _check_enough(sizes, tokens, losses, floor)
    center = float(np.exp(np.log(sizes).mean())), float(np.exp(np.log(tokens).mean()))
    points = _Points(sizes / center[0], tokens / center[1], losses, floor)
    fits = [_solve(start, points) for start in _starts(losses, floor)]
    best, squares = min(fits, key=lambda fit: fit[1])
    free = len(losses) - 4 - (floor is None)
    spread = float(np.sqrt(squares / free))
    draws = _bootstrap(best, points, spread, free)
    return ScalingLaw(best, draws, center, floor is not None, spread, len(losses))


def _bootstrap(best: Numbers, points: _Points, spread: float, free: int) -> Numbers:
    """Return the laws fitted to DRAWS samples from the fitted one, (draws, 5)."""
    # Seeded by the losses: no two laws share their noise.
    seed = np.ascontiguousarray(points.losses, dtype=float).view(np.uint32)
    random = np.random.default_rng(seed)
    scale = spread * np.sqrt(free / random.chisquare(free, DRAWS))
    noise = random.normal(size=(DRAWS, len(points.losses))) * scale[:, None]
    floor, of_size, a, of_data, b = best
    losses, start = floor + of_size * points.n**-a + of_data * points.d**-b, _to_logs(best)
    samples = (points._replace(losses=losses * np.exp(row)) for row in noise)
    return np.array([_solve(start, sample)[0] for sample in samples])


def _check_enough(sizes: Numbers, tokens: Numbers, losses: Numbers, floor: float | None) -> None:
    kinds, amounts = len(np.unique(sizes)), len(np.unique(tokens))
    least = 4 + (floor is None) + SPARE_POINTS
    if kinds < MIN_SIZES or amounts < MIN_AMOUNTS or len(losses) < least:
        raise TooFewPoints(
            f"no law is fitted: {kinds} sizes × {amounts} amounts of data in {len(losses)} cells, "
            f"and a fit takes at least {MIN_SIZES} × {MIN_AMOUNTS} and {least} cells"
        )


def _starts(losses: Numbers, floor: float | None) -> list[Numbers]:
    lowest, mean = float(losses.min()), float(losses.mean())
    floors = [share * lowest for share in START_FLOORS] if floor is None else [floor]
    terms = [(low, max(mean - low, 1e-3) / 2) for low in floors]
    starts = product(terms, START_EXPONENTS, START_EXPONENTS)
    return [_to_logs(np.array([low, rest, a, rest, b])) for (low, rest), a, b in starts]


def _to_logs(law: Numbers) -> Numbers:
    """Return logarithms, so that nothing turns negative."""
    return np.log(np.maximum(law, 1e-9))


def _solve(start: Numbers, points: _Points) -> tuple[Numbers, float]:
    """Return the least-squares law from one start, and its sum of squares."""
    first = 0 if points.floor is None else 1
    logs = np.log(points.n), np.log(points.d), np.log(points.losses)
    solution = least_squares(
        partial(_residuals, points=points, logs=logs), start[first:],
        jac=partial(_jacobian, points=points, logs=logs), method="lm", max_nfev=200,
    )  # fmt: skip
    law = np.exp(np.clip(solution.x, *LOG_BOUNDS))
    if first:
        law = np.concatenate([[points.floor], law])
    return law, 2 * float(solution.cost)


def _terms(given: Numbers, points: _Points, logs: tuple[Numbers, ...]) -> tuple[Numbers, ...]:
    """Return E, A·n^−a, a·log n, B·d^−b and b·log d at each point."""
    law = np.exp(np.clip(given, *LOG_BOUNDS))
    of_size, a, of_data, b = law[-4:]
    floor = np.full(len(points.n), law[0] if points.floor is None else points.floor)
    a_log, b_log = a * logs[0], b * logs[1]
    return floor, of_size * np.exp(-a_log), a_log, of_data * np.exp(-b_log), b_log


def _residuals(given: Numbers, points: _Points, logs: tuple[Numbers, ...]) -> Numbers:
    floor, of_size, _, of_data, _ = _terms(given, points, logs)
    return np.asarray(np.log(floor + of_size + of_data) - logs[2])


def _jacobian(given: Numbers, points: _Points, logs: tuple[Numbers, ...]) -> Numbers:
    floor, of_size, a_log, of_data, b_log = _terms(given, points, logs)
    columns = np.array([floor, of_size, -of_size * a_log, of_data, -of_data * b_log])
    return np.asarray((columns[0 if points.floor is None else 1 :] / (floor + of_size + of_data)).T)


# --- where two laws meet --------------------------------------------------------------------------


class LawCrossover(NamedTuple):
    """Where the second law falls below the first along an axis; inf: not up to the horizon."""

    place: float
    low: float  # of its 95 % interval; inf beyond the horizon
    high: float
    beyond: float  # the place over the largest measured value: above 1 it is extrapolated
    agreement: float  # share of the draws in which the same law leads at the smallest value


def find_crossover(
    one: ScalingLaw, other: ScalingLaw, axis: str, fixed: float, low: float, high: float
) -> tuple[bool, LawCrossover]:
    """Return whether `one` leads at the low end of the measured range, and where `other` overtakes.

    The search goes up to HORIZON times the high end.
    """
    places = np.geomspace(low, high * HORIZON, GRID_POINTS)
    gap, gaps = (
        other.along(axis, places, fixed, drawn) - one.along(axis, places, fixed, drawn)
        for drawn in (False, True)
    )
    sign = 1 if gap[0, 0] >= 0 else -1
    place, gaps = float(_first_crossing(sign * gap, places)[0]), sign * gaps
    crossings = np.sort(_first_crossing(gaps, places))
    ends = [float(crossings[int(np.floor((len(crossings) - 1) * share))]) for share in TAILS]
    agreement = float((gaps[:, 0] > 0).mean())
    return sign > 0, LawCrossover(place, ends[0], ends[1], place / high, agreement)


def _first_crossing(gaps: Numbers, places: Numbers) -> Numbers:
    """Return where each gap first is not above 0, interpolated, (draws,); inf: nowhere."""
    below, rows = gaps <= 0, np.arange(len(gaps))
    after = below.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    left, right = gaps[rows, before], gaps[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(after > 0, left / (left - right), 0.0)
    logs = np.log(places)
    met = np.exp(logs[before] + share * (logs[after] - logs[before]))
    return np.where(below.any(axis=1), met, np.inf)
