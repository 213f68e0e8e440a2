"""Launchers: plug-ins that are missing, what a process on another machine is told, and sweeps that really run."""

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from bench import command, job, launchers
from bench.config import Mistake
from tests.conftest import Command, one_line

SWEEP = ["-m", "arch=gru,bigram", "seed=0,1"]
command.register()


# --- before any work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slurm", "submitit_local", "ray"])
def test_a_plug_in_that_is_missing_is_one_line_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "_there", lambda module: False)
    with pytest.raises(Mistake) as caught:
        command.expand([*SWEEP, f"hydra/launcher={name}"])
    assert f"hydra/launcher={name} needs a plug-in: python -m pip install" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_the_command_ends_there(bench: Command, tiny: list[str], tmp_path: Path) -> None:
    one_line(bench(*tiny, *SWEEP, "hydra/launcher=ray"), 2, "pip install ray", "hydra-ray-launcher")
    assert not (tmp_path / "results").exists()


def test_slurm_without_slurm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Mistake, match="no sbatch"):
        command.expand([*SWEEP, "hydra/launcher=slurm"])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert len(command.expand([*SWEEP, "hydra/launcher=slurm"]).runs) == 4


# --- what a process on another machine is told ------------------------------------------------------------------------


def test_a_task_brings_along_what_its_process_has_to_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = []
    monkeypatch.setattr(job, "task", lambda config: there.append((os.getcwd(), os.environ["BENCH_WORDS"], job.words())))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_WORDS", '["arch=gru"]')
    monkeypatch.setenv("BENCH_DOOR", "another machine:1")
    posted = pickle.dumps(job.Task())
    monkeypatch.chdir("/")
    monkeypatch.delenv("BENCH_WORDS")
    monkeypatch.delenv("BENCH_DOOR")
    pickle.loads(posted)(OmegaConf.create())
    assert there == [(str(tmp_path), '["arch=gru"]', ["arch=gru"])]


def test_a_machine_without_the_command_s_folder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    posted = job.Task()
    monkeypatch.chdir("/")
    here.rmdir()
    monkeypatch.setattr(job, "task", lambda config: pytest.fail("ran without its folder"))
    posted(OmegaConf.create())
    assert f"error: {here} can not be entered on" in capsys.readouterr().err


# --- sweeps that really run -------------------------------------------------------------------------------------------


def lacks(name: str) -> str:
    """Why a launcher can not be tried here; empty where it can."""
    command = ["sinfo"] if shutil.which("sinfo") else ["false"]
    if name == "slurm" and subprocess.run(command, capture_output=True, check=False).returncode:
        return "no Slurm answers on this machine"
    return launchers.missing(name)


@pytest.mark.slow
def test_every_launcher_trains_the_same_by_bit(bench: Command, tiny: list[str], tmp_path: Path) -> None:
    losses = {}
    for name in ("basic", "local", "submitit_local", "slurm", "ray"):
        if why := lacks(name):
            print(f"{name} was not tried: {why}")
            continue
        more = ["hydra.launcher.mem_gb=1"] if name == "slurm" else []
        done = bench(*tiny, *SWEEP, f"hydra/launcher={name}", f"results={name}", *more, timeout=600)
        assert done.returncode == 0, (name, done.stderr)
        folders = sorted((tmp_path / name / "single" / "runs").glob("[a-z]*"))
        assert len(folders) == 4
        losses[name] = {folder.name: left(folder) for folder in folders}
    assert {"basic", "local", "submitit_local"} <= losses.keys()
    assert all(found == losses["basic"] for found in losses.values())


def left(folder: Path) -> tuple[list[dict], dict[str, list]]:
    """What a run left that must not depend on who launched it: its curve but for the clock, and its weights."""
    rows = [json.loads(line) | {"seconds": 0} for line in (folder / "curve.jsonl").read_text().splitlines()]
    weights = torch.load(folder / "checkpoint" / "weights.pt", weights_only=True)["model"]
    return rows, {name: value.tolist() for name, value in weights.items()}
