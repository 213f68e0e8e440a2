"""`preference=…` of the run command, and bench.preferences: what is refused, and a stage for real."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench import preferences
from tests.conftest import ROOT, Command, assert_one_error, run_command_in, tiny_overrides
from tests.execution.disturbance import children, kill, until
from tests.hostile import campaign, kills

SMALL = (
    "preference=quick preference.prompt=8 preference.response=16 preference.labels=96 "
    "preference.held_out=64 preference.policy.updates=3 preference.look_prompts=8"
).split()


@pytest.mark.parametrize(("override", "code"), [
    ("preference.response=60", "conflicting-values"),
    ("preference.flip=0.6", "invalid-value"),
    ("preference=human", "conflicting-values"),
])  # fmt: skip
def test_a_mistake_ends_before_any_work(
    override: str, code: str, call_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = call_command("arch=gru", *tiny, *SMALL, override)
    assert f"[{code}]" in assert_one_error(done, 2)
    assert not (tmp_path / "results" / "single" / "preferences").exists() or not any(
        (tmp_path / "results" / "single" / "preferences").iterdir()
    )


@pytest.mark.parametrize(("arguments", "code"), [
    ((), 0), (("check", "x.jsonl"), 2), (("preference=quick",), 2), (("results/none",), 2),
    (("label", "run"), 2), (("label", "run", "--out", "y.jsonl"), 2),
])  # fmt: skip
def test_the_command_without_what_it_needs(
    arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert preferences.main(arguments) == code


def test_the_forecast_has_a_row_for_the_base_and_for_each_part(
    call_command: Command, tiny: list[str]
) -> None:
    done = call_command("arch=gru", *tiny, *SMALL, "preference.reward.arch=cnn", "dry=true")
    assert done.returncode == 0, done.stderr
    for name in ("reward-96", "rloo-b0.1-96", "dpo-b0.1-96", "best_of-96"):
        assert name in done.stdout
    assert re.search(r"^ *cnn-\S+-s0-\w{8} ", done.stdout, re.MULTILINE)
    assert "nothing was run" in done.stdout
    unknown = call_command("arch=gru", *tiny, *SMALL, "preference.reward.arch=cmm", "dry=true")
    assert "[unknown-choice]" in assert_one_error(unknown, 2)


def test_a_file_of_labels_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "p", "chosen": "longer", "rejected": "short"}\n' * 3)
    assert preferences.main(["check", str(path)]) == 0
    assert "3 labels of 1 prompts" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_then_what_they_learn_then_labels_by_hand(run_command: Command, text: Path) -> None:
    done = run_command("arch=gru,modern_bert", *tiny_overrides(text), *SMALL, "-m")
    assert done.returncode == 0, done.stderr
    assert "so there is no policy to improve" in done.stdout
    suite = text.parent / "results" / "single"
    table = pd.read_csv(suite / "report" / "preferences.csv")
    assert set(table["arch"]) == {"gru"}
    assert {"gold_reward", "response_kl", "reward_accuracy"} <= set(table["metric"])
    again = run_command("arch=gru,modern_bert", *tiny_overrides(text), *SMALL, "-m")
    assert "done before, not run again" in again.stderr
    beside = run_command(str(suite), *SMALL, "preference.gold=prose", module="bench.preferences")
    assert beside.returncode == 0, beside.stderr
    results = [
        json.loads(path.read_text()) for path in (suite / "preferences").glob("gru*/result.json")
    ]
    assert [result["status"] for result in results] == ["done", "done"]
    (policy, *_) = (suite / "preferences").glob("gru*/parts/dpo*")
    written = run_command(str(policy), "--prompt", "the ", "--tokens", "5", module="bench.generate")
    assert written.returncode == 0, written.stderr


@pytest.mark.slow
def test_a_stage_that_is_killed_ends_as_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    campaign.write_inputs(undisturbed)
    assert run_command_in(undisturbed)(*campaign.run_words()).returncode == 0
    shutil.copytree(undisturbed, killed)
    stage = campaign.STAGE.split()
    assert run_command_in(undisturbed)(*stage, module="bench.preferences").returncode == 0
    call, own = [sys.executable, "-m", "bench.preferences", *stage], {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(call, cwd=killed, env={**os.environ, **own}, text=True)
    looks = "results/single/preferences/*/parts/dpo-*/training.pt"
    until(lambda: any(killed.glob(looks)), process)
    kill(process, [process.pid, *children(process.pid)])
    assert not list(killed.glob("results/single/preferences/*/result.json"))
    done = run_command_in(killed)(*stage, module="bench.preferences")
    assert done.returncode == 0, done.stderr
    first, second = (
        next(place.glob("results/single/preferences/gru*")) for place in (undisturbed, killed)
    )
    assert kills.stage_files(first) == kills.stage_files(second)
