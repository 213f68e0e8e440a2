"""Pairwise tests against scipy and closed forms, and on simulated scores."""

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from bench.stats import pairwise, variance

Case = tuple[list[np.ndarray], np.ndarray | None, np.ndarray | None]  # of pairwise_tests


def arrays(*seeds: Sequence[float]) -> list[np.ndarray]:
    return [np.array(scores) for scores in seeds]


def simulated(
    truth: Sequence[float], seeds: int, draw: np.random.Generator, documents: int = 200
) -> Case:
    """Scores around known means, of documents of unequal size and difficulty."""
    sizes = np.exp(draw.normal(6, 1, documents))
    levels = (
        np.array(truth)[:, None]
        + draw.normal(0, 0.15, documents)
        + draw.normal(0, 0.02, (len(truth), documents))
    )
    means = levels @ sizes / sizes.sum()
    scores = means[:, None] + draw.normal(0, 0.003, (len(truth), seeds))
    nats = (levels + (scores.mean(axis=1) - means)[:, None]) * sizes * math.log(2)
    return list(scores), nats, sizes


# --- closed forms ---------------------------------------------------------------------------------


def test_two_groups_without_documents_are_a_t_test() -> None:
    first, second = [1.0, 1.1, 1.3], [2.0, 2.2]
    pair = pairwise.pairwise_tests(arrays(second, first)).iloc[0]
    expected = stats.ttest_ind(second, first)
    assert (pair["first"], pair["second"]) == (1, 0)
    assert pair["p"] == pytest.approx(expected.pvalue)
    assert pair["difference"] - pair["half"] == pytest.approx(expected.confidence_interval().low)
    assert pair["basis"] == "seeds"


def test_the_seed_variance_is_pooled_and_degrees_of_freedom_add_up() -> None:
    seeds = arrays([1.0, 1.1, 1.3], [2.0, 2.2], [5.0, 5.1, 5.15, 5.2], [3.0])
    pair = pairwise.pairwise_tests(seeds).iloc[0]
    squares = sum(float(np.square(one - one.mean()).sum()) for one in seeds)
    assert pair["half"] == pytest.approx(
        stats.t.ppf(0.975, 6) * math.sqrt(squares / 6 * (1 / 3 + 1 / 2))
    )


def test_documents_add_their_variance_by_welch_and_satterthwaite() -> None:
    sizes, seeds = np.full(50, 40.0), [np.array([1.0, 1.1, 1.3]), np.array([1.0, 1.3, 1.5])]
    nats = np.random.default_rng(0).normal(40, 3, (2, 50))
    pair = pairwise.pairwise_tests(seeds, nats, sizes).iloc[0]
    documents = np.var((nats[0] - nats[1]) / 40 / math.log(2), ddof=1) / 50
    shared = np.mean([one.var(ddof=1) for one in seeds]) * 2 / 3
    freedom = (documents + shared) ** 2 / (documents**2 / 49 + shared**2 / 4)
    assert pair["half"] == pytest.approx(
        stats.t.ppf(0.975, freedom) * math.sqrt(documents + shared)
    )


def test_the_variance_over_documents_is_the_jackknife_of_a_ratio_of_sums() -> None:
    draw = np.random.default_rng(0)
    sizes = np.exp(draw.normal(5, 1.5, 20))
    nats = draw.normal(1, 0.1, (3, 20)) * sizes
    variances = variance.document_variances(nats, sizes)
    gap = nats[0] - nats[2]
    left = np.array(
        [np.delete(gap, place).sum() / np.delete(sizes, place).sum() for place in range(20)]
    )
    ratio = gap.sum() / sizes.sum()
    assert variances[0, 2] == pytest.approx(
        19 / 20 * np.square(left - ratio).sum() / math.log(2) ** 2
    )
    assert variances[1, 1] == pytest.approx(0)
    assert np.isnan(variance.document_variances(nats[:, :1], sizes[:1])).all()
    assert variance.effective_n(np.full(7, 3.0)) == pytest.approx(7)


def test_holm() -> None:
    assert pairwise.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )


def test_a_group_with_another_variance_leaves_the_pool() -> None:
    draw = np.random.default_rng(1)
    steady = [draw.normal(1 + 0.1 * arm, 0.002, 5) for arm in range(5)]
    unsteady = draw.normal(1.2, 0.1, 5)
    table = pairwise.pairwise_tests(arrays(*steady, unsteady))
    without = pairwise.pairwise_tests(arrays(*steady))
    quiet, loud = (
        table[table["second"].lt(5) & table["first"].lt(5)],
        table[table["second"].eq(5) | table["first"].eq(5)],
    )
    assert quiet["half"].to_numpy() == pytest.approx(without["half"].to_numpy())
    own = (
        unsteady.var(ddof=1) / 5
    )  # nearly all of the variance of its differences, on four degrees of freedom
    assert loud["half"].to_numpy() == pytest.approx(
        [stats.t.ppf(0.975, 4) * math.sqrt(own)] * 5, rel=0.01
    )
    assert quiet["kind"].eq(pairwise.BETTER).all()
    assert not variance.pool_seed_variance([*steady, unsteady], np.ones(6, bool)).pool[5]


def test_one_seed_may_decide_where_many_seeds_overlap() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 1, (2, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    pair = pairwise.pairwise_tests(arrays(noise[0], noise[1] + 0.6)).iloc[0]
    wins = np.mean([a < b for a in noise[0] for b in noise[1] + 0.6])
    assert pair["kind"] == pairwise.ONE_SEED_DECIDES
    assert pair["wins"] == pytest.approx(wins)
    assert 0.5 < wins < 0.75


def test_the_seeds_that_would_settle_a_difference_follow_the_rule_of_thumb() -> None:
    """About 15.7 variances over the squared difference per group, for a power of 0.8 at 5 %."""
    first = np.array([-1.0, 0.0, 1.0])
    pair = pairwise.pairwise_tests(arrays(first, first + 0.4)).iloc[0]
    assert pair["kind"] == pairwise.NOT_DISTINGUISHABLE
    assert pair["needed"] == pytest.approx(15.7 / 0.4**2, rel=0.05)
    assert pairwise.pairwise_tests(arrays(first, first + 0.01)).iloc[0]["needed"] == math.inf


# --- simulated truth ------------------------------------------------------------------------------


def false_and_detected(seeds: int, times: int) -> tuple[float, float]:
    """Return the shares of suites with a false claim, and with a difference found."""
    draw = np.random.default_rng(seeds)
    false = detected = 0
    for _ in range(times):
        equal = pairwise.pairwise_tests(*simulated([1.7] * 5, seeds, draw))
        false += bool(equal["kind"].isin([pairwise.BETTER, pairwise.ONE_SEED_DECIDES]).any())
        apart = pairwise.pairwise_tests(
            *simulated(
                [1.7, 1.7 + 2 * float(equal["detectable"].mean()), 1.7, 1.7, 1.7], seeds, draw
            )
        )
        pair = apart[(apart["first"] == 0) & (apart["second"] == 1)]
        detected += len(pair) == 1 and pair["adjusted"].iloc[0] <= pairwise.ALPHA
    return false / times, detected / times


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_many_simulated_suites(seeds: int) -> None:
    times = 2000
    false, detected = false_and_detected(seeds, times)
    print(f"{seeds} seeds: {false:.4f} false claims, {detected:.4f} found")
    assert false * times <= stats.binom.ppf(0.99, times, 0.05)
    assert detected >= 0.8


def test_false_claims_are_rare_and_detectable_differences_found() -> None:
    false, detected = false_and_detected(3, 40)
    assert false <= 0.15
    assert detected >= 0.8


def test_many_groups_cost_little_more_than_few() -> None:
    """190 pairs cost less than 50 single ones."""
    draw = np.random.default_rng(0)
    arms = simulated(list(1.7 + 0.001 * np.arange(20)), 10, draw, 5000)
    two = simulated([1.7, 1.701], 10, draw, 5000)

    def seconds(case: Case) -> float:
        began = time.perf_counter()
        pairwise.pairwise_tests(*case)
        return time.perf_counter() - began

    pairwise.pairwise_tests(*two)
    assert min(seconds(arms) for _ in range(3)) < 50 * min(seconds(two) for _ in range(5))
