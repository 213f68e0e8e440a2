"""Intervals of means and of paired ratios, against scipy, plain bootstraps and simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats import intervals, pareto_front


def test_interval_of_seeds_alone_is_the_t_interval() -> None:
    seeds = np.array([2.0, 2.1, 2.3])
    low, high = stats.t.interval(0.95, 2, loc=seeds.mean(), scale=stats.sem(seeds))
    interval = intervals.mean_interval(seeds)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.basis == "seeds"


def test_interval_of_one_seed_is_over_documents_alone() -> None:
    interval = intervals.mean_interval(np.array([2.0]), 0.01, 50)
    assert interval.half == pytest.approx(stats.t.ppf(0.975, 49) * 0.1)
    assert interval.basis == "documents"
    assert math.isnan(intervals.mean_interval(np.array([2.0])).low)


def test_interval_of_both_is_welch_satterthwaite() -> None:
    seeds, variance, documents = np.array([2.0, 2.1, 2.3]), 0.004, 40
    part = seeds.var(ddof=1) / 3
    freedom = (part + variance) ** 2 / (part**2 / 2 + variance**2 / 39)
    interval = intervals.mean_interval(seeds, variance, documents)
    assert interval.half == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(part + variance))


def test_pareto() -> None:
    assert list(pareto_front(np.array([1.0, 2, 3, 3]), np.array([3.0, 1, 1, 0.5]))) == [
        True,
        True,
        False,
        True,
    ]


def test_the_ratio_of_the_inverse_is_the_inverse() -> None:
    ratios = np.exp(np.random.default_rng(3).normal(0.1, 0.05, size=24))
    forward, inverse = (
        intervals.paired_ratios([ratios])[0],
        intervals.paired_ratios([1 / ratios])[0],
    )
    assert forward is not None
    assert inverse is not None
    assert forward.value == pytest.approx(1 / inverse.value)
    assert (forward.low, forward.high) == pytest.approx(
        (1 / inverse.high, 1 / inverse.low), rel=5e-3
    )
    assert (forward.side_beyond(), inverse.side_beyond()) == (1, -1)


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    ratios = np.exp(np.random.default_rng(3).normal(0.0, 0.05, size=31))
    picks = np.random.default_rng(8).integers(0, 31, size=(20_000, 31))
    interval = intervals.paired_ratios([ratios])[0]
    assert interval is not None
    plain = np.quantile(np.median(ratios[picks], axis=1), [0.025, 0.975])
    mean = np.quantile(np.exp(np.log(ratios)[picks].mean(axis=1)), [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx(tuple(plain), rel=2e-3)
    assert (interval.mean_low, interval.mean_high) == pytest.approx(tuple(mean), rel=2e-3)


def test_lists_may_have_different_numbers_of_rounds() -> None:
    interval = intervals.paired_ratios(
        [np.full(5, 2.0), np.empty(0), np.array([3.0]), np.array([np.nan, 4.0, 4.0])]
    )
    assert interval[1] is None
    assert [ratio.rounds for ratio in interval if ratio] == [5, 1, 2]
    assert [ratio.value for ratio in interval if ratio] == pytest.approx([2, 3, 4])
    assert interval[2] is not None
    assert interval[2].side_beyond() == 0  # one round claims nothing


def test_an_interval_over_processes_covers_their_advantages() -> None:
    draw, processes = np.random.default_rng(5), np.repeat(np.arange(6.0), 10)
    advantages = draw.normal(0, 0.015, size=(300, 6)).repeat(10, axis=1)
    samples = list(0.8 * np.exp(advantages + draw.normal(0, 0.02, size=advantages.shape)))
    by_process = [one for one in intervals.paired_ratios(samples, [processes] * 300) if one]
    by_round = [one for one in intervals.paired_ratios(samples) if one]
    assert len(by_process) == len(by_round) == 300
    assert 0.91 < np.mean([one.low < 0.8 < one.high for one in by_process]) < 0.99
    assert 0.91 < np.mean([one.mean_low < 0.8 < one.mean_high for one in by_process]) < 0.99
    assert np.mean([one.low < 0.8 < one.high for one in by_round]) < 0.8
    alone = intervals.paired_ratios(samples[:1], [np.ones(60)])[0]
    assert alone == pytest.approx(by_round[0])


def test_a_few_rounds_of_one_process_claim_little() -> None:
    draw, between = np.random.default_rng(3), (2 * 0.01**2, 25.0)
    kept = draw.normal(0, 0.01 * np.sqrt(2), size=2000)
    drawn = [np.exp(one + draw.normal(0, 0.02, size=3)) for one in kept]  # of identical arms
    interval = [intervals.ratio_within_processes(ratios, between) for ratios in drawn]
    assert np.mean([one is not None and one.side_beyond() != 0 for one in interval]) <= 0.06
    assert (
        np.mean(
            [one is not None and one.side_beyond() != 0 for one in intervals.paired_ratios(drawn)]
        )
        > 0.2
    )  # what a bootstrap says
    clear = intervals.ratio_within_processes(np.array([1.3, 1.31, 1.29]), between)
    assert clear is not None
    assert clear.side_beyond() == 1
    assert clear.value == pytest.approx(1.3)
    assert intervals.ratio_within_processes(np.array([np.nan]), between) is None


def test_the_variance_between_processes_is_pooled() -> None:
    draw, processes = np.random.default_rng(4), np.repeat(np.arange(6.0), 10)
    kept = draw.normal(0, 0.02, size=(400, 6)).repeat(10, axis=1)
    variance, freedom = intervals.between_process_variance(list(np.exp(kept)), [processes] * 400)
    assert variance == pytest.approx(0.02**2, rel=0.1)
    assert freedom == 400 * 5
    alone = intervals.between_process_variance([np.ones(10)], [np.zeros(10)])
    assert alone == (
        pytest.approx(2 * intervals.PROCESS_DEVIATION**2),
        np.inf,
    )  # one process of each tells nothing
