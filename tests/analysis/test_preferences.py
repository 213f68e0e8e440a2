"""What is compared of preference stages: gold at an equal KL, pairs by seed, labels, the control."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench.analysis import label_value
from bench.analysis.preferences import PreferenceStudy, build_studies
from bench.records.preference_tables import read_preferences
from bench.stats.paired import paired_tests
from tests.fake_preferences import KL, gold_at, write_stage

SLOPES = {"lstm": 0.10, "gru": 0.16}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PreferenceStudy:
    root = tmp_path_factory.mktemp("suite")
    for seed in (0, 1, 2):
        for arch, slope in SLOPES.items():
            write_stage(root, arch, seed, 0.4, slope + 0.002 * seed)
        write_stage(root, "lstm", 100 + seed, 0.4, 0.10 + 0.001 * seed)
    (only,) = build_studies(read_preferences(root))
    return only


def test_gold_at_an_equal_kl_lies_between_the_last_looks(study: PreferenceStudy) -> None:
    """In √KL, from the start over the looks of beta 0.3 and 0.1; the few-label policy is no part."""
    row = study.at_kl.query("arch == 'gru' and kl == 2").iloc[0]
    ends = [gold_at(KL[beta], 0.4, 0.162) for beta in (0.3, 0.1)]
    expected = np.interp(2**0.5, np.sqrt([KL[0.3], KL[0.1]]), ends)
    assert row["gold"] == pytest.approx(expected, abs=1e-6)
    assert row["gain"] == pytest.approx(expected - 0.4, abs=1e-6)
    assert row["gain_low"] < row["gain"] < row["gain_high"]
    assert row["seeds"] == 3


def test_a_policy_that_never_came_so_far_has_no_value(tmp_path: Path) -> None:
    from bench.config.preference_schema import PolicyConfig

    write_stage(tmp_path, "gru", policy=PolicyConfig(betas=[0.3]))
    (study,) = build_studies(read_preferences(tmp_path))
    values = study.at_kl.set_index("kl")["gold"]
    assert math.isfinite(values[1.0])
    assert math.isnan(values[2.0])


def test_pairs_are_claimed_and_the_control_is_not(study: PreferenceStudy) -> None:
    pairs = study.verdicts.query("kl == 2 and measure == 'gain'")
    claimed = pairs[~pairs["control"]].iloc[0]
    assert (claimed["better"], claimed["other"]) == ("gru", "lstm")
    assert claimed["claimed"]
    control = pairs[pairs["control"]].iloc[0]
    assert {control["better"], control["other"]} == {"lstm", "lstm (control)"}
    assert not control["claimed"]
    assert control["difference"] < claimed["difference"] / 10


def test_best_of_n_and_both_methods_are_on_the_frontier(study: PreferenceStudy) -> None:
    assert set(study.frontier["method"]) == {"rloo", "dpo", "best_of"}
    rows = study.frontier.query("arch == 'gru' and seed == 0 and method == 'rloo'")
    assert sorted(rows["kl"]) == [1.5, 5.0]
    fits = study.fits["gru"]["best_of"]
    assert fits.slope > 0


def test_over_optimisation_is_the_peak_less_the_end(study: PreferenceStudy) -> None:
    row = study.over_optimisation.query("arch == 'lstm' and seed == 0").iloc[0]
    ends = [gold_at(kl, 0.4, 0.10) for kl in (15.0, 30.0)]
    assert row["lost"] == pytest.approx(ends[0] - ends[1], abs=1e-6)
    assert row["proxy_gain"] == pytest.approx(30**0.5)
    assert (row["labels"], row["beta"]) == (128, 0.03)


def test_labels_by_strategy_are_paired_and_show_both_scores(study: PreferenceStudy) -> None:
    curves = label_value.curve_table(study.numbers)
    fisher = curves.query("arch == 'gru' and select == 'fisher' and labels == 256").iloc[0]
    assert fisher["gain"] == pytest.approx(0.02)
    assert fisher["gain_error"] == pytest.approx(0, abs=1e-9)
    assert fisher["regret_gain"] == pytest.approx(-0.02)
    needed = label_value.needed_table(curves).set_index(["arch", "select"])
    assert needed.loc[("gru", "fisher"), "needed"] < needed.loc[("gru", "random"), "needed"]
    assert needed.loc[("gru", "random"), "saved"] == 0


def test_stages_of_other_options_are_not_compared(tmp_path: Path) -> None:
    write_stage(tmp_path, "gru")
    write_stage(tmp_path, "lstm", temperature=0.2)
    assert len(build_studies(read_preferences(tmp_path))) == 2


def test_a_record_that_is_not_done_is_in_no_study(tmp_path: Path) -> None:
    folder = write_stage(tmp_path, "gru")
    (folder / "result.json").unlink()
    tables = read_preferences(tmp_path)
    assert build_studies(tables) == []
    assert [row["status"] for row in tables.excluded] == ["unfinished"]


def test_paired_seeds_find_what_unpaired_ones_hide() -> None:
    draw = np.random.default_rng(0)
    common = draw.normal(0, 1, 5)
    scores = np.stack([common, common + 0.1, common + 0.1 + draw.normal(0, 0.01, 5)])
    scores[1] += draw.normal(0, 0.01, 5)
    tests = paired_tests(scores)
    assert tests["claimed"].tolist() == [True, True, False]
    assert (tests["adjusted"] >= tests["p"]).all()
    unpaired = paired_tests(scores[:2], controls=[(0, 1)])
    assert not unpaired["claimed"].any()
    assert unpaired["half"].iloc[0] > 10 * tests["half"].iloc[0]


def test_prompts_widen_the_interval() -> None:
    scores = np.array([[0.50, 0.51, 0.52], [0.40, 0.41, 0.43]])
    prompts = np.random.default_rng(0).normal(0, 0.3, (2, 32))
    alone, with_prompts = paired_tests(scores), paired_tests(scores, prompts)
    assert with_prompts["half"].iloc[0] > alone["half"].iloc[0]
    assert alone["claimed"].iloc[0]
    assert not with_prompts["claimed"].iloc[0]
