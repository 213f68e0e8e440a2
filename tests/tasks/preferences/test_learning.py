"""A stage from start to end on a tiny base: its record, its parts, an interruption, encoders."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from architectures.interface import Unsupported
from bench.config.dependencies import required_runs
from bench.config.preference_schema import (
    ExtrasConfig,
    LabelCurveConfig,
    PolicyConfig,
    PreferenceConfig,
    RewardConfig,
)
from bench.config.schema import DataConfig, Run, SizeConfig, resolve_learning_rate
from bench.data import prepare
from bench.model import build_sized_model
from bench.records import store
from bench.records.finished import FinishedRun, open_finished
from bench.records.loading import load_record
from bench.records.metrics import metric
from bench.system import host
from bench.tasks.preferences import learning, reinforcement, stage
from bench.tasks.preferences.costs import part_costs
from bench.tasks.preferences.part_store import PartStore
from bench.tasks.preferences.parts import StagePart
from bench.tasks.preferences.policies import Update
from bench.tasks.preferences.policy_part import idle_updates
from bench.training import load, save_weights
from tests.conftest import ROOT, write_words

OPTIONS = PreferenceConfig(
    enabled=True, gold="prose", prompt=6, response=10, labels=64, held_out=32, look_prompts=8,
    look_each=2, looks=2, reward=RewardConfig(batch=16),
    policy=PolicyConfig(
        methods=["rloo", "ppo", "dpo", "best_of"], updates=4, prompts=4, each=2, best_of=[1, 2, 4]
    ),
)  # fmt: skip
EXTRAS = replace(
    OPTIONS, few_labels=32, few_beta=0.03, policy=replace(OPTIONS.policy, methods=[]),
    curve=LabelCurveConfig(sizes=[8, 16], select=["random", "fisher"], repeats=2),
    extras=ExtrasConfig(flips=[0.2], shaping=["potential", "bonus"]),
)  # fmt: skip


def make_base(folder: Path, arch: str = "gru", **options: object) -> tuple[Run, FinishedRun]:
    """A run whose weights are its initial ones, recorded as if it was trained."""
    text = write_words(folder / "words.txt", 6_000)
    config = yaml.safe_load((ROOT / "conf" / "arch" / f"{arch}.yaml").read_text(encoding="utf-8"))
    names = {"arch": arch, "data": "words", "size": "tiny"}
    run = Run(
        arch=config, data=DataConfig(source="text", path=str(text), split="tail"),
        size=SizeConfig(parameters=12_000, context=16), names=names, results=str(folder / "results"),
        preference=replace(OPTIONS, **options),
    )  # fmt: skip
    corpus = prepare(run.data, "words")
    model = build_sized_model(run, corpus.vocabulary.size)
    place = folder / "base"
    store.create_record(place, run, {}, {})
    save_weights(place / "checkpoint", model, corpus.vocabulary, model.backbone.width)
    return run, open_finished(place)


def learn(
    run: Run, base: FinishedRun, folder: Path, progress=lambda line: None, **others: FinishedRun
) -> dict:
    store.create_record(folder, run, {}, {})
    learning.learn(run, {"base": base, **others}, folder, progress)
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(autouse=True)
def trust_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that was never trained has a reward model at chance."""
    monkeypatch.setattr(stage, "AT_CHANCE_ERRORS", -1e9)


def test_each_part_has_an_estimate_from_the_speed_of_its_base(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, base = make_base(tmp_path)
    caplog.set_level("INFO", "bench")
    store.write_json(base.folder / "environment.json", {"machine": host.machine_digest()})
    speed = [metric("tokens_seen", 5000.0), metric("train_seconds", 2.0)]
    score = metric("bits_per_byte", 1.0)
    store.add_provenance(base.folder, {"data": "d"}, {})
    store.write_result(base.folder, "done", metrics=[*speed, score])
    learn(run, base, tmp_path / "stage")
    estimates = [one.estimate for one in caplog.records if hasattr(one, "estimate")]
    assert estimates == [cost / 2500 for _, cost in part_costs(run, with_state=True)]
    store.write_json(base.folder / "environment.json", {"machine": "another"})
    assert {
        seconds for _, seconds in learning.part_seconds(run, base, load(base.folder).model)
    } == {math.inf}


def without_times(result: dict) -> list:
    return [one for one in result["metrics"] if one["name"] != "rollout_tokens_per_cpu_second"]


def test_a_stage_records_its_parts_and_resumes_as_if_undisturbed(tmp_path: Path) -> None:
    run, base = make_base(tmp_path)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    result = learn(run, base, straight)
    assert load_record(straight).status == "done"
    parts = {part["name"]: part["status"] for part in result["facts"]["parts"]}
    assert list(parts) == ["reward-64", "rloo-b0.1-64", "ppo-b0.1-64", "dpo-b0.1-64", "best_of-64"]
    assert set(parts.values()) == {"done"}
    start = next(
        one for one in result["metrics"] if one["name"] == "response_kl" and "update" in one["at"]
    )
    assert start["values"] == [0.0] * 8

    def interrupt(line: str) -> None:
        if line.startswith("ppo-b0.1-64: update 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(run, base, stopped, interrupt)
    assert (stopped / "parts" / "ppo-b0.1-64" / "training.pt").exists()
    seen: list[str] = []
    again = learn(run, base, stopped, seen.append)
    assert without_times(again) == without_times(result)
    assert not any(line.startswith(("reward-64:", "rloo-b0.1-64: update")) for line in seen)
    for name in ("curve.jsonl", "looks.parquet"):
        one, other = (place / "parts" / "ppo-b0.1-64" / name for place in (straight, stopped))
        if name.endswith("jsonl"):
            assert one.read_text() == other.read_text()
        else:
            pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))
    assert len((straight / "labels.jsonl").read_text().splitlines()) == 64
    policy = load(straight / "parts" / "rloo-b0.1-64")
    assert policy.run.seed == 0
    assert not torch.equal(policy.model.embedding.weight, load(base.folder).model.embedding.weight)


@pytest.mark.slow
def test_few_labels_curves_reversed_labels_and_shaping(tmp_path: Path) -> None:
    run, base = make_base(tmp_path)
    result = learn(replace(run, preference=EXTRAS), base, tmp_path / "stage")
    parts = {part["name"]: part["status"] for part in result["facts"]["parts"]}
    assert set(parts.values()) == {"done"}
    assert {
        "rloo-b0.03-32", "curve-fisher", "rloo-b0.1-64-flip0.2-corrected", "rloo-b0.1-64-bonus",
        "rloo-b0.1-64-potential",
    } < set(parts)  # fmt: skip


def test_people_have_a_reward_model_and_dpo_and_no_gold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {
            "prompt": f"the small tree {n} ",
            "chosen": "sleeps under",
            "rejected": "0 1 2 3 4 5 6 7 8 9",
        }
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    policy = PolicyConfig(methods=["dpo"])
    run, base = make_base(tmp_path, path=str(path), labels=0, policy=policy)
    result = learn(run, base, tmp_path / "stage")
    names = {one["name"] for one in result["metrics"]}
    assert "gold_reward" not in names
    assert {"reward_accuracy", "response_kl", "proxy_reward"} <= names
    assert (result["facts"]["labels"], result["facts"]["held_out"]) == (54, 6)
    assert (
        result["facts"]["cut"] == 60
    )  # the second response does not fit 16 tokens with its prompt
    assert "60 of 60 pairs are longer than size.context=16" in caplog.text
    accuracy = next(one for one in result["metrics"] if one["name"] == "reward_accuracy")
    assert accuracy["values"][0] > 0.9  # digits are told from letters


def test_other_weights_of_the_base_are_another_start(tmp_path: Path) -> None:
    few = PolicyConfig(methods=[])
    run, base = make_base(tmp_path, policy=few)
    folder = tmp_path / "stage"
    learn(run, base, folder)
    marker = folder / "parts" / "reward-64" / "marker"
    marker.touch()
    learn(run, base, folder)
    assert marker.exists()
    learn(run, replace(base, weights_sha256="other"), folder)
    assert not marker.exists()


def test_a_reward_model_at_chance_trains_no_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "AT_CHANCE_ERRORS", 1e9)
    run, base = make_base(tmp_path)
    result = learn(run, base, tmp_path / "stage")
    statuses = {part["name"]: part["status"] for part in result["facts"]["parts"]}
    assert statuses["reward-64"] == statuses["dpo-b0.1-64"] == "done"
    assert statuses["rloo-b0.1-64"] == statuses["best_of-64"] == "failed"
    reasons = [part["reason"] for part in result["facts"]["parts"] if part["status"] == "failed"]
    assert all("at chance" in reason for reason in reasons)


def test_a_policy_that_diverges_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reinforcement, "LARGEST_KL", 0.01)
    policy = replace(OPTIONS.policy, methods=["rloo", "best_of"])
    run, base = make_base(tmp_path, policy=policy)
    result = learn(run, base, tmp_path / "stage")
    parts = {part["name"]: part for part in result["facts"]["parts"]}
    assert parts["best_of-64"]["status"] == "done"
    assert parts["rloo-b0.1-64"]["status"] == "failed"
    assert "diverged at update " in parts["rloo-b0.1-64"]["reason"]
    assert " KL " in parts["rloo-b0.1-64"]["reason"]
    kept = [one["at"]["update"] for one in result["metrics"] if one["name"] == "response_k1"]
    assert kept[0] == 0  # what was seen before stays


def test_groups_without_two_different_returns_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, part = PartStore(tmp_path), StagePart("policy", 64, method="rloo", beta=0.1)
    store.folder(part).mkdir(parents=True)
    for number in range(20):
        update = Update(number + 1, 0.0, 0.0, idle_groups=4 if number % 2 else 3)
        store.log(part, update)
    assert idle_updates(part, store, groups=4).values == (10.0,)
    assert "in 10 updates no group had two different returns" in caplog.text


def test_one_architecture_is_the_reward_model_of_all(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    few = PolicyConfig(methods=["rloo"], updates=2, prompts=2, each=2)
    other, judge = make_base(tmp_path / "other", "cnn")
    reward = RewardConfig(batch=16, arch="cnn", model=other.arch)
    run, base = make_base(tmp_path, policy=few, reward=reward)
    assert required_runs(run)["reward"].arch == other.arch
    assert learning.learning_rates(run).reward == pytest.approx(0.3 * resolve_learning_rate(other))
    learn(run, base, tmp_path / "stage", reward=judge)
    weights = torch.load(tmp_path / "stage" / "parts" / "reward-64" / "reward.pt")
    names = {name.removeprefix("body.") for name in weights if name.startswith("body.")}
    assert names == set(load(judge.folder).model.state_dict())


def test_an_encoder_is_skipped(tmp_path: Path) -> None:
    run, base = make_base(tmp_path, "modern_bert")
    with pytest.raises(Unsupported, match="encoder"):
        learn(run, base, tmp_path / "stage")
