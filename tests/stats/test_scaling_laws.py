"""Scaling laws: known exponents are recovered, and known laws meet where they do."""

import numpy as np
import pytest

from bench.stats import scaling_laws
from bench.stats.scaling_laws import DATA, FLOPS, SIZE
from tests.stats.known_laws import TRUTH, exact, grid, loss

# --- the fit --------------------------------------------------------------------------------------


def test_without_noise_the_law_comes_back() -> None:
    law = scaling_laws.fit_scaling_law(*grid(TRUTH["lstm"]))
    assert law.best[[0, 2, 4]] == pytest.approx(TRUTH["lstm"][[0, 2, 4]], rel=1e-3)
    expected = [loss(TRUTH["lstm"], 10**6, tokens) for tokens in (1e5, 1e7)]
    assert law.along(DATA, np.array([1e5, 1e7]), 10**6)[0] == pytest.approx(expected, rel=1e-3)
    assert law.spread < 1e-6


def test_a_floor_that_is_known_is_held() -> None:
    law = scaling_laws.fit_scaling_law(*grid(TRUTH["lstm"], 0.003), floor=1.2)
    assert law.interval(0) == (1.2, 1.2, 1.2)
    for place in (2, 4):
        value, low, high = law.interval(place)
        assert low < TRUTH["lstm"][place] < high
        free = scaling_laws.fit_scaling_law(*grid(TRUTH["lstm"], 0.003)).interval(place)
        assert high - low < free[2] - free[1]  # what is known need not be guessed
        assert low < value < high


@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [0, 3, 6, 9], [0, 1, 3, 4, 6, 8]])
def test_too_few_points_are_an_error(kept: list[int]) -> None:
    sizes, tokens, losses = grid(TRUTH["lstm"])
    with pytest.raises(scaling_laws.TooFewPoints, match=f"in {len(kept)} cells"):
        scaling_laws.fit_scaling_law(sizes[kept], tokens[kept], losses[kept])


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.002, 0.008])
def test_intervals_hold_the_truth(noise: float) -> None:
    """Nominally 95 %: floor, both exponents, and where two laws meet."""
    times, held = 100, np.zeros(4)
    _, true = scaling_laws.find_crossover(
        exact(TRUTH["lstm"]), exact(TRUTH["decoder"]), DATA, 320_000, 1e5, 9.2e5
    )
    for seed in range(times):
        one, other = (
            scaling_laws.fit_scaling_law(*grid(TRUTH[name], noise, 2 * seed + n))
            for n, name in enumerate(TRUTH)
        )
        spans = [one.interval(place)[1:] for place in (0, 2, 4)]
        held[:3] += [
            low <= value <= high
            for (low, high), value in zip(spans, TRUTH["lstm"][[0, 2, 4]], strict=True)
        ]
        _, met = scaling_laws.find_crossover(one, other, DATA, 320_000, 1e5, 9.2e5)
        held[3] += met.low <= true.place <= met.high
    print(f"noise {noise}: E, a, b, crossing held in {held / times}")
    assert (
        held / times >= 0.87
    ).all()  # a binomial allowance below 95 %, and the approximation's own


# --- where two laws meet --------------------------------------------------------------------------


def test_two_known_laws_meet_where_they_do() -> None:
    ahead, met = scaling_laws.find_crossover(
        exact(TRUTH["lstm"]), exact(TRUTH["decoder"]), DATA, 320_000, 1e5, 2e5
    )
    expected = 3e5 * (0.55 / 0.50) ** (1 / 0.20)  # 0.50·x^−0.25 = 0.55·x^−0.45
    assert ahead
    assert met.place == pytest.approx(expected, rel=1e-3)
    assert met.beyond == pytest.approx(expected / 2e5, rel=1e-3)
    assert (met.low, met.high) == pytest.approx((expected, expected), rel=1e-3)
    assert not scaling_laws.find_crossover(
        exact(TRUTH["decoder"]), exact(TRUTH["lstm"]), DATA, 320_000, 1e5, 2e5
    )[0]


def test_along_flops_the_split_is_the_best_one() -> None:
    law = exact(TRUTH["lstm"])
    compute = 6.0 * 80_000 * 400_000
    sizes = np.geomspace(1e3, 1e7, 20_001)
    best = min(loss(TRUTH["lstm"], size, compute / 6.0 / size) for size in sizes)
    assert law.along(FLOPS, np.array([compute]), float("nan"))[0, 0] == pytest.approx(
        best, rel=1e-6
    )


def test_laws_that_do_not_meet_are_infinitely_far() -> None:
    worse = TRUTH["lstm"] + np.array([0.1, 0, 0, 0, 0])
    _, met = scaling_laws.find_crossover(exact(TRUTH["lstm"]), exact(worse), SIZE, 1e6, 2e4, 4e5)
    assert (met.place, met.low, met.high) == (np.inf, np.inf, np.inf)
