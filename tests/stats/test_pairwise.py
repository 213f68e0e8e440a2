"""Pairwise tests against scipy and closed forms, and on simulated scores."""

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from bench.stats import pairwise, variance
from tests.stats import calibration

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


def test_two_groups_without_documents_are_a_welch_test() -> None:
    first, second = [1.0, 1.1, 1.3], [2.0, 2.2, 2.3, 2.35]
    pair = pairwise.pairwise_tests(arrays(second, first)).iloc[0]
    expected = stats.ttest_ind(second, first, equal_var=False)
    assert (pair["first"], pair["second"]) == (1, 0)
    assert pair["p"] == pytest.approx(expected.pvalue)
    assert pair["difference"] - pair["half"] == pytest.approx(expected.confidence_interval().low)
    assert pair["basis"] == "seeds"


def test_a_group_takes_the_variance_of_the_groups_outside_the_pair_where_it_is_larger() -> None:
    seeds = arrays([1.0, 1.0, 1.01], [2.0, 2.0, 2.02], [5.0, 5.3, 5.7])
    pair = pairwise.pairwise_tests(seeds).iloc[0]
    other = seeds[2].var(ddof=1)
    assert pair["half"] == pytest.approx(stats.t.ppf(0.975, 8) * math.sqrt(2 * other / 3))
    own = pairwise.pairwise_tests(seeds).iloc[2]  # the second and the third
    assert own["half"] == pytest.approx(
        stats.t.ppf(0.975, 2) * math.sqrt(seeds[2].var(ddof=1) / 3 + seeds[1].var(ddof=1) / 3)
    )


def test_two_seeds_have_one_degree_of_freedom_and_one_seed_makes_no_claim() -> None:
    first, second = [1.0, 1.1], [2.0, 2.2]
    pair = pairwise.pairwise_tests(arrays(first, second)).iloc[0]
    error = math.sqrt(np.var(first, ddof=1) / 2 + np.var(second, ddof=1) / 2)
    assert pair["half"] == pytest.approx(stats.t.ppf(0.975, 1) * error)
    table = pairwise.pairwise_tests(arrays([1.0, 1.1, 1.2], [9.0], [2.0, 2.1, 2.2]))
    assert table["kind"].tolist() == [pairwise.UNKNOWN, pairwise.BETTER, pairwise.UNKNOWN]
    assert table["p"].isna().tolist() == [True, False, True]


def test_documents_add_their_variance_by_welch_and_satterthwaite() -> None:
    sizes, seeds = np.full(50, 40.0), [np.array([1.0, 1.1, 1.3]), np.array([1.0, 1.3, 1.5])]
    nats = np.random.default_rng(0).normal(40, 3, (2, 50))
    pair = pairwise.pairwise_tests(seeds, nats, sizes).iloc[0]
    documents = np.var((nats[0] - nats[1]) / 40 / math.log(2), ddof=1) / 50
    own = np.array([one.var(ddof=1) / 3 for one in seeds])
    total = documents + own.sum()
    freedom = total**2 / (documents**2 / 49 + np.square(own).sum() / 2)
    assert pair["half"] == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(total))


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


def test_shaffer_counts_the_pairs_that_can_still_be_equal() -> None:
    """Of four groups' six pairs at most three are equal once one is not (Shaffer 1986)."""
    assert pairwise.possible_equal(4) == (0, 1, 2, 3, 6)
    p = np.array([0.001, 0.01, 0.011, 0.012, 0.2, 0.3])
    assert pairwise.shaffer(p, 4) == pytest.approx([0.006, 0.03, 0.033, 0.036, 0.4, 0.4])


def test_an_unsteady_group_has_an_interval_from_its_own_seeds() -> None:
    draw = np.random.default_rng(1)
    steady = [draw.normal(1 + 0.1 * arm, 0.002, 5) for arm in range(5)]
    unsteady = draw.normal(1.2, 0.1, 5)
    table = pairwise.pairwise_tests(arrays(*steady, unsteady))
    loud = table[table["second"].eq(5) | table["first"].eq(5)]
    own = unsteady.var(ddof=1) / 5  # nearly all of the variance, on four degrees of freedom
    expected = [stats.t.ppf(0.975, 4) * math.sqrt(own)] * 5
    assert loud["half"].to_numpy() == pytest.approx(expected, rel=0.01)
    assert variance.unsteady_groups([*steady, unsteady]) == [5]


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


def check(scenario: calibration.Scenario, tables: int) -> None:
    """Hold a scenario to its error rate of 5 %, coverage of 95 %, and the power that it is to have.

    By binomial bounds around 0.06 and 0.94: the issue is error rates of 0.1 and more.
    """
    outcome = calibration.simulate(scenario, tables)
    assert outcome.error_rate * tables <= stats.binom.ppf(0.999, tables, 0.06)
    assert outcome.coverage * tables >= stats.binom.ppf(0.001, tables, 0.94)
    if scenario.effect:
        assert outcome.power >= (0.8 if scenario.effect[2] > 0.1 else 0.4)


SCENARIOS = list(calibration.scenarios())


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: f"{one.name}, {one.seeds}")
def test_error_rate_coverage_and_power_under_unlike_variances(
    scenario: calibration.Scenario,
) -> None:
    check(scenario, 2000)


@pytest.mark.parametrize("place", [5, 25, 29])  # the reference's deviations, documents, an effect
def test_calibration_on_fewer_tables(place: int) -> None:
    check(SCENARIOS[place], 100)


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
