"""Tests of changes between two versions: scipy's t tests, Holm's procedure, error rates."""

import numpy as np
import pytest
from scipy import stats

from bench.stats import changes

NAN = np.full(1, np.nan)


def test_one_group_with_shared_samples_is_a_paired_t_test() -> None:
    draw = np.random.default_rng(0)
    old, new = draw.normal(2.0, 0.01, 5), draw.normal(2.03, 0.01, 5)
    result = changes.paired_changes([new - old], NAN, NAN)
    expected = stats.ttest_rel(new, old)
    (p,) = changes.adjusted_p_values([result], [np.zeros(1)])
    assert p[0] == pytest.approx(expected.pvalue)
    high = expected.confidence_interval().high
    assert (result.difference + result.spread.half)[0] == pytest.approx(high)


def test_one_group_with_other_samples_is_a_welch_test() -> None:
    draw = np.random.default_rng(1)
    old, new = draw.normal(2.0, 0.01, 4), draw.normal(2.02, 0.03, 6)
    result = changes.unpaired_changes([old], [new], NAN, NAN)
    (p,) = changes.adjusted_p_values([result], [np.zeros(1)])
    assert p[0] == pytest.approx(stats.ttest_ind(new, old, equal_var=False).pvalue)


def test_documents_widen_a_paired_interval() -> None:
    difference = np.array([0.01, 0.012, 0.014])
    with_documents = changes.paired_changes([difference], np.full(1, 1e-4), np.full(1, 50.0))
    own = difference.var(ddof=1) / 3
    assert with_documents.spread.variance[0] == pytest.approx(own + 1e-4)


def test_one_sample_says_nothing_and_does_not_count() -> None:
    several = np.array([0.1, 0.11, 0.12])
    two = np.full(2, np.nan)
    result = changes.paired_changes([several, np.array([5.0])], two, two)
    (p,) = changes.adjusted_p_values([result], [np.zeros(2)])
    assert np.isnan(p[1])
    assert p[0] == pytest.approx(stats.ttest_1samp(several, 0).pvalue)


def test_only_what_exceeds_its_margin_is_claimed() -> None:
    result = changes.paired_changes([np.array([0.100, 0.101, 0.102])], NAN, NAN)
    inside, beyond = (
        changes.adjusted_p_values([result], [np.full(1, margin)])[0][0] for margin in (0.12, 0.05)
    )
    assert inside == 1
    assert beyond < 0.001


def test_equal_samples_are_no_change() -> None:
    result = changes.paired_changes([np.zeros(3)], NAN, NAN)
    (p,) = changes.adjusted_p_values([result], [np.zeros(1)])
    assert p[0] == 1


def test_holm_multiplies_by_what_is_left_and_leaves_out_what_is_unknown() -> None:
    adjusted = changes.holm(np.array([0.01, np.nan, 0.04, 0.02]))
    assert adjusted == pytest.approx([0.03, np.nan, 0.04, 0.04], nan_ok=True)


@pytest.mark.parametrize("paired", [True, False])
def test_equal_versions_are_told_apart_in_at_most_a_twentieth_of_tables(paired: bool) -> None:
    draw, false, covered = np.random.default_rng(0), 0, []
    deviations = np.array([0.001, 0.004, 0.005, 0.010, 0.019, 0.036])
    unknown = np.full(6, np.nan)
    for _ in range(300):
        old, new = ([draw.normal(0, one, 3) for one in deviations] for _ in range(2))
        differences = [after - before for before, after in zip(old, new, strict=True)]
        result = (
            changes.paired_changes(differences, unknown, unknown)
            if paired
            else changes.unpaired_changes(old, new, unknown, unknown)
        )
        (p,) = changes.adjusted_p_values([result], [np.zeros(6)])
        false += (p <= 0.05).any()
        covered.append(np.abs(result.difference) <= result.spread.half)
    assert false <= 15 + 2 * np.sqrt(15)
    assert np.mean(covered) > 0.93
