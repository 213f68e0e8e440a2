"""Scaling laws: loss = E + A·N^−a + B·D^−b of a model with N parameters after D tokens, fitted to measured cells.

The form is that of Hoffmann et al. 2022. Residuals are of the logarithm of the loss. Intervals come from a parametric bootstrap
over cells: each draw adds fresh normal residuals to the fitted law, of a variance that is drawn too, since few cells know their
own only roughly, and fits again.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from bench.stats.intervals import CONFIDENCE, Numbers

DRAWS = 500
QUANTILES = [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]
SIZE, DATA, FLOPS = "parameters", "tokens", "training FLOPs"
AXES = (SIZE, DATA, FLOPS)
MIN_SIZES, MIN_AMOUNTS = 3, 3  # different values along each axis that a law is fitted to
SPARE_POINTS = 3  # cells more than the law has unknowns, at least
HORIZON = 100.0  # a law is followed so many times beyond the largest measured value, and no further
LOG_BOUNDS = (-30.0, 3.0)  # of the logarithms of E, A, a, B, b
GRID_POINTS = 400  # places along an axis at which two laws are set beside one another
START_EXPONENTS = (0.1, 0.3, 1.0)  # exponents that a fit begins with
START_FLOORS = (0.2, 0.6, 0.9)  # of the lowest loss: floors that a fit begins with


class ScalingLaw(NamedTuple):
    """A fitted law. `draws` holds the same five numbers for each draw of the bootstrap: E, A, a, B, b."""

    best: Numbers  # (5,)
    draws: Numbers  # (draws, 5)
    center: tuple[
        float, float
    ]  # parameters and tokens at which A and B are what they add to the loss
    known: bool  # whether the floor E was given
    spread: float  # standard deviation of the residuals of the logarithm
    cells: int
    cost: float = float("nan")  # FLOPs of training, for each parameter and token

    def interval(self, place: int) -> tuple[float, float, float]:
        """One of E, A, a, B, b with its 95 % interval."""
        low, high = np.quantile(self.draws[:, place], QUANTILES)
        return float(self.best[place]), float(low), float(high)

    def along(self, axis: str, places: Numbers, fixed: float, drawn: bool = False) -> Numbers:
        """(1, places) or (draws, places): the loss along one of AXES, the other of size and data held at `fixed`.

        Along FLOPs, each place has its best split between size and data: where both slopes are alike.
        """
        floor, of_size, a, of_data, b = self._rows(drawn)
        if axis == FLOPS:
            n, d = self._split(places, drawn)
        else:
            size, tokens = (places, fixed) if axis == SIZE else (fixed, places)
            n, d = np.log(size / self.center[0]), np.log(tokens / self.center[1])
        return np.asarray(floor + of_size * np.exp(-a * n) + of_data * np.exp(-b * d))

    def split(self, flops: float) -> tuple[float, float]:
        """The parameters and the tokens that so many FLOPs are best spent on."""
        n, d = self._split(np.array([flops]), False)
        return float(np.exp(n[0, 0])) * self.center[0], float(np.exp(d[0, 0])) * self.center[1]

    def _rows(self, drawn: bool) -> Numbers:
        """E, A, a, B, b, each (rows, 1): of the draws, or the best alone."""
        return np.asarray((self.draws if drawn else self.best[None]).T[:, :, None])

    def _split(self, flops: Numbers, drawn: bool) -> tuple[Numbers, Numbers]:
        """Logarithms of size and tokens over the center at the best split of each budget, (rows, places)."""
        _, of_size, a, of_data, b = self._rows(drawn)
        whole = np.log(flops / (self.cost * self.center[0] * self.center[1]))[None, :]
        n = (np.log(a * of_size / (b * of_data)) + b * whole) / (a + b)
        return n, whole - n


class TooFewPoints(Exception):
    """The message is why no law is fitted."""


def _loss(law: Numbers, n: Numbers, d: Numbers) -> Numbers:
    floor, of_size, a, of_data, b = law
    return np.asarray(floor + of_size * n**-a + of_data * d**-b)


def fit_scaling_law(
    sizes: Numbers, tokens: Numbers, losses: Numbers, floor: float | None = None
) -> ScalingLaw:
    """The law of one architecture from the mean loss of each cell; `floor`: E where it is known. Raises TooFew."""
    _check_enough(sizes, tokens, losses, floor)
    center = float(np.exp(np.log(sizes).mean())), float(np.exp(np.log(tokens).mean()))
    n, d = sizes / center[0], tokens / center[1]
    free = 4 + (floor is None)
    found = min(
        (_solve(start, n, d, losses, floor) for start in _starts(losses, floor)),
        key=lambda one: one[1],
    )
    best, squares = found
    spread = float(np.sqrt(squares / (len(losses) - free)))
    draw = np.random.default_rng(
        np.ascontiguousarray(losses, dtype=float).view(np.uint32)
    )  # no two laws share their noise
    scale = spread * np.sqrt((len(losses) - free) / draw.chisquare(len(losses) - free, DRAWS))
    noise = draw.normal(size=(DRAWS, len(losses))) * scale[:, None]
    expected, start = _loss(best, n, d), _to_logs(best)
    draws = np.array([_solve(start, n, d, expected * np.exp(one), floor)[0] for one in noise])
    return ScalingLaw(best, draws, center, floor is not None, spread, len(losses))


def _check_enough(sizes: Numbers, tokens: Numbers, losses: Numbers, floor: float | None) -> None:
    kinds, amounts = len(np.unique(sizes)), len(np.unique(tokens))
    least = 4 + (floor is None) + SPARE_POINTS
    if kinds < MIN_SIZES or amounts < MIN_AMOUNTS or len(losses) < least:
        raise TooFewPoints(
            f"no law is fitted: {kinds} sizes × {amounts} amounts of data in {len(losses)} cells, and a fit takes at least "
            f"{MIN_SIZES} × {MIN_AMOUNTS} and {least} cells"
        )


def _starts(losses: Numbers, floor: float | None) -> list[Numbers]:
    floors = [share * float(losses.min()) for share in START_FLOORS] if floor is None else [floor]
    return [
        _to_logs(np.array([low, rest, a, rest, b]))
        for low in floors
        for rest in [max(float(losses.mean()) - low, 1e-3) / 2]
        for a in START_EXPONENTS
        for b in START_EXPONENTS
    ]


def _to_logs(law: Numbers) -> Numbers:
    """Logarithms, so that nothing turns negative."""
    return np.log(np.maximum(law, 1e-9))


def _solve(
    start: Numbers, n: Numbers, d: Numbers, losses: Numbers, floor: float | None
) -> tuple[Numbers, float]:
    """The law of least squares from one start, and the sum of its squares."""
    first = 0 if floor is None else 1
    logs, log_n, log_d = np.log(losses), np.log(n), np.log(d)

    def parts(given: Numbers) -> tuple[Numbers, ...]:
        law = np.exp(np.clip(given, *LOG_BOUNDS))
        low = law[0] if floor is None else floor
        a, b = law[2 - first], law[4 - first]
        return (
            np.full(len(n), low),
            law[1 - first] * np.exp(-a * log_n),
            a * log_n,
            law[3 - first] * np.exp(-b * log_d),
            b * log_d,
        )

    def residuals(given: Numbers) -> Numbers:
        low, of_size, _, of_data, _ = parts(given)
        return np.asarray(np.log(low + of_size + of_data) - logs)

    def slopes(given: Numbers) -> Numbers:
        low, of_size, a_log, of_data, b_log = parts(given)
        columns = np.array([low, of_size, -of_size * a_log, of_data, -of_data * b_log])[first:]
        return np.asarray((columns / (low + of_size + of_data)).T)

    found = least_squares(residuals, start[first:], jac=slopes, method="lm", max_nfev=200)
    law = np.exp(np.clip(found.x, *LOG_BOUNDS))
    return (law if floor is None else np.concatenate([[floor], law])), 2 * float(found.cost)


# --- where two laws meet ----------------------------------------------------------------------------------------------


class LawCrossover(NamedTuple):
    """Where the second law falls below the first, along one axis: inf where it does not up to the horizon."""

    place: float
    low: float  # of its 95 % interval; inf beyond the horizon
    high: float
    beyond: float  # the place over the largest measured value: above 1 it is extrapolated
    agreement: (
        float  # share of the draws in which the same one leads at the smallest measured value
    )


def find_crossover(
    one: ScalingLaw, other: ScalingLaw, axis: str, fixed: float, low: float, high: float
) -> tuple[bool, LawCrossover]:
    """Whether `one` leads at the low end of the measured range, and where the other overtakes, up to HORIZON times its high."""
    places = np.geomspace(low, high * HORIZON, GRID_POINTS)
    gap = other.along(axis, places, fixed) - one.along(axis, places, fixed)
    sign = 1 if gap[0, 0] >= 0 else -1
    place = float(_first_crossing(sign * gap, places)[0])
    gaps = sign * (
        other.along(axis, places, fixed, drawn=True) - one.along(axis, places, fixed, drawn=True)
    )
    drawn = np.sort(_first_crossing(gaps, places))
    ends = [float(drawn[int(np.floor((len(drawn) - 1) * share))]) for share in QUANTILES]
    return sign > 0, LawCrossover(
        place, ends[0], ends[1], place / high, float((gaps[:, 0] > 0).mean())
    )


def _first_crossing(gaps: Numbers, places: Numbers) -> Numbers:
    """(draws,): the first place at which a gap is no longer above 0, read off between neighbours; inf where it stays above."""
    below = gaps <= 0
    where = below.argmax(axis=1)
    rows = np.arange(len(gaps))
    before = np.maximum(where - 1, 0)
    left, right = gaps[rows, before], gaps[rows, where]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(where > 0, left / (left - right), 0.0)
    logs = np.log(places)
    met = np.exp(logs[before] + share * (logs[where] - logs[before]))
    return np.where(below.any(axis=1), met, np.inf)
