"""What a stage consists of, and options that are refused before any work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from bench.config.dependencies import base_run, required_runs
from bench.config.errors import UserError
from bench.config.identity import identity, record_group
from bench.config.preference_schema import (
    ExtrasConfig,
    LabelCurveConfig,
    PolicyConfig,
    PreferenceConfig,
    RewardConfig,
)
from bench.config.schema import Run, SizeConfig
from bench.config.validation import validate_run
from bench.tasks.preferences.costs import part_costs
from bench.tasks.preferences.parts import check_options, list_parts

ON = PreferenceConfig(enabled=True)


def a_run(**keys: Any) -> Run:
    arch = {"_target_": "a.B", "tune": {"learning_rate": 1e-3}}
    return Run(arch=arch, size=SizeConfig(context=64), preference=replace(ON, **keys))


def names(options: PreferenceConfig, seed: int = 0) -> list[str]:
    return [part.name for part in list_parts(options, seed, options.labels)]


def test_a_reward_model_comes_before_what_is_trained_on_it() -> None:
    assert names(ON) == ["reward-1024", "rloo-b0.1-1024", "dpo-b0.1-1024", "best_of-1024"]
    few = replace(ON, few_labels=128, few_beta=0.03, policy=PolicyConfig(methods=["ppo"]))
    assert names(few) == ["reward-1024", "ppo-b0.1-1024", "reward-128", "rloo-b0.03-128"]


def test_extras_belong_to_the_seeds_that_are_named() -> None:
    extras = ExtrasConfig(flips=[0.2], shaping=["bonus"], seeds=[0])
    options = replace(ON, policy=PolicyConfig(methods=[]), extras=extras)
    assert names(options, 0) == [
        "reward-1024", "reward-1024-flip0.2", "rloo-b0.1-1024-flip0.2",
        "reward-1024-flip0.2-corrected", "rloo-b0.1-1024-flip0.2-corrected", "rloo-b0.1-1024-bonus",
    ]  # fmt: skip
    assert names(options, 1) == ["reward-1024"]


def test_people_have_no_curve_and_no_flips() -> None:
    curve = LabelCurveConfig(sizes=[64])
    assert names(replace(ON, curve=curve))[-2:] == ["curve-random", "curve-fisher"]
    assert names(replace(ON, curve=curve, path="mine.jsonl"))[-1] == "best_of-1024"


def test_a_stage_starts_from_the_run_without_it_and_has_an_identity_of_its_own() -> None:
    run = a_run()
    base = required_runs(run)["base"]
    assert base == base_run(run)
    assert not base.preference.enabled
    assert identity(base) == identity(replace(run, preference=PreferenceConfig(labels=7)))
    assert identity(run) != identity(base)
    assert identity(run) != identity(a_run(policy=PolicyConfig(updates=7)))
    assert identity(run) == identity(a_run(looks=2))
    assert (record_group(run), record_group(base)) == ("preferences", "runs")


def test_the_architecture_of_reward_models_counts_for_the_identity_and_its_card_does_not() -> None:
    def identity_of(**arch: Any) -> str:
        model = {"_target_": "a.C", "tune": {"learning_rate": 1e-3}, **arch}
        return identity(a_run(reward=RewardConfig(arch="other", model=model)))

    assert identity_of() != identity(a_run())
    assert identity_of() != identity_of(layers=2)
    assert identity_of() == identity_of(card={"summary": "text"})


@pytest.mark.parametrize(
    "keys", [{"flip": 0.6}, {"temperature": 0.0}, {"policy": PolicyConfig(each=1)}]
)
def test_values_out_of_range(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        validate_run(a_run(**keys))
    assert error.value.code == "invalid-value"
    assert "out of range" in str(error.value)


def test_parts_cost_more_without_a_state_and_with_more_updates() -> None:
    def costs(keeps_state: bool, **keys: Any) -> dict[str, float]:
        run = a_run(few_labels=128, **keys)
        return {part.name: cost for part, cost in part_costs(run, keeps_state)}

    plain, slow = costs(True), costs(False)
    assert plain["reward-1024"] > 4 * plain["reward-128"] > 0
    assert slow["rloo-b0.1-1024"] > 2 * plain["rloo-b0.1-1024"]
    assert slow["reward-1024"] == plain["reward-1024"]
    longer = costs(True, policy=PolicyConfig(updates=600))
    assert 4 < longer["rloo-b0.1-1024"] / plain["rloo-b0.1-1024"] < 10


@pytest.mark.parametrize(("keys", "code"), [
    ({"response": 64}, "conflicting-values"),
    ({"gold": "wordz"}, "unknown-choice"),
    ({"policy": PolicyConfig(methods=["grpo"])}, "unknown-choice"),
    ({"policy": PolicyConfig(betas=[])}, "invalid-value"),
    ({"curve": LabelCurveConfig(select=["fishy"])}, "unknown-choice"),
    ({"extras": ExtrasConfig(flips=[0.6])}, "invalid-value"),
    ({"labels": 0}, "conflicting-values"),
    ({"gold": ""}, "conflicting-values"),
    ({"path": "mine.jsonl", "flip": 0.2}, "conflicting-values"),
    ({"path": "missing.jsonl"}, "missing-file"),
    ({"path": "mine.jsonl"}, "invalid-value"),
    ({"extras": ExtrasConfig(shaping=["spans"])}, "conflicting-values"),
    ({"path": "mine.jsonl", "extras": ExtrasConfig(shaping=["bonus"])}, "conflicting-values"),
    ({"path": "mine.jsonl", "labels": 0, "extras": ExtrasConfig(shaping=["spans"])}, "invalid-value"),
], ids=["too long", "gold", "method", "no beta", "strategy", "flips", "no labels", "no gold", "flip of people",
        "no file", "more labels than there are",
        "spans of nobody", "bonus for people", "no spans"])  # fmt: skip
def test_options_that_are_refused(
    keys: dict[str, Any], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    snapshot: SnapshotAssertion,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    line = '{"prompt": "%d", "chosen": "a", "rejected": "b"}\n'
    Path("mine.jsonl").write_text("".join(line % number for number in range(50)), encoding="utf-8")
    with pytest.raises(UserError) as error:
        check_options(a_run(**keys))
    assert error.value.code == code
    assert str(error.value) == snapshot
