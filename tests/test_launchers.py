"""Launchers: plug-ins that are missing, what a process on another machine is told, and sweeps that really run."""

import importlib.util
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from bench.cli import compose, launchers
from bench.config.errors import UserError
from bench.execution import runner
from tests.conftest import Command, assert_one_error

SWEEP = ["-m", "arch=gru,bigram", "seed=0,1"]
compose.register()


# --- before any work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slurm", "submitit_local", "ray"])
def test_a_plug_in_that_is_missing_is_one_line_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "_is_installed", lambda module: False)
    with pytest.raises(UserError) as caught:
        compose.compose_sweep([*SWEEP, f"hydra/launcher={name}"])
    assert f"hydra/launcher={name} needs a plug-in: python -m pip install" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("slurm", "submitit_slurm"), ("submitit_local", "submitit_local"), ("local", "joblib")],
)
def test_a_plug_in_whose_yamls_are_missing_is_the_same_line(
    name: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our YAMLs build on what a plug-in brings: Hydra fails before anybody can look at the launcher."""
    compose.compose_sweep(SWEEP)  # now Hydra has looked for plug-ins
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{theirs}.yaml")
    monkeypatch.setattr(launchers, "_is_installed", lambda module: False)
    with pytest.raises(UserError) as caught:
        compose.compose_sweep([*SWEEP, f"hydra/launcher={name}"])
    assert str(caught.value).startswith(
        f"hydra/launcher={name} needs a plug-in: python -m pip install hydra-"
    )
    assert "\n" not in str(caught.value)


def test_a_launcher_that_builds_on_nothing_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults:\n  - nothing\n")
    with pytest.raises(
        UserError, match="hydra/launcher=mine builds on nothing, which is not there"
    ):
        compose.compose_sweep(["--config-dir", str(tmp_path), *SWEEP, "hydra/launcher=mine"])


@pytest.mark.parametrize("name", ["slurm", "submitit_local", "ray"])
def test_a_launcher_without_a_sweep_does_not_train_here(name: str) -> None:
    with pytest.raises(UserError, match=f"hydra/launcher={name}: launchers start sweeps: add -m"):
        compose.compose_sweep(["arch=gru", f"hydra/launcher={name}"])


@pytest.mark.parametrize(
    "words", [[], ["hydra/launcher=local"], ["hydra/launcher=basic"], ["hydra/launcher=joblib"]]
)
def test_the_launchers_of_this_machine_take_one_run(words: list[str]) -> None:
    assert len(compose.compose_sweep(["arch=gru", *words]).runs) == 1


def test_a_key_that_a_launcher_has_not_points_to_those_it_has() -> None:
    with pytest.raises(
        UserError, match=r"hydra.launcher.partitio is no key; conf/hydra/launcher/\*.yaml list"
    ):
        compose.compose_sweep(
            [*SWEEP, "hydra/launcher=submitit_local", "hydra.launcher.partitio=x"]
        )


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_the_command_ends_there(run_command: Command, tiny: list[str], tmp_path: Path) -> None:
    assert_one_error(
        run_command(*tiny, *SWEEP, "hydra/launcher=ray"), 2, "pip install ray", "hydra-ray-launcher"
    )
    assert not (tmp_path / "results").exists()


def test_slurm_without_slurm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no sbatch"):
        compose.compose_sweep([*SWEEP, "hydra/launcher=slurm"])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert len(compose.compose_sweep([*SWEEP, "hydra/launcher=slurm"]).runs) == 4


# --- a cluster that takes nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed",
            "partition specified: nope; Batch",
        ),
        ("", "it ended with exit code 1"),
    ],
)
def test_what_sbatch_refuses_is_one_line(
    run_command: Command, tiny: list[str], tmp_path: Path, words: str, said: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        (programs / name).write_text(f"#!/bin/sh\nprintf '%s' '{words}' >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    done = run_command(
        *tiny, *SWEEP, "hydra/launcher=slurm", PATH=f"{programs}:{os.environ['PATH']}"
    )
    assert_one_error(done, 2, "error: sbatch refused: ", said)
    assert "again=failed" not in done.stdout + done.stderr


def start_ray(init_cfg: dict, error: Exception) -> None:
    """As the plug-in's function of this name, where Ray raises."""
    raise error


@pytest.mark.parametrize(
    ("address", "variable", "error", "said"),
    [
        (
            "auto",
            "",
            ConnectionError("Could not find"),
            "no Ray cluster answers at auto: start one with `ray start --head`, or leave",
        ),
        (
            None,
            "one:6379",
            ConnectionError("Could not find"),
            "no Ray cluster answers at one:6379: ",
        ),
        (
            "auto",
            "",
            RuntimeError("\nVersion mismatch: 1\n2"),
            "Ray did not start: Version mismatch: 1",
        ),
        (None, "", ValueError(), "Ray did not start: ValueError"),
    ],
)
def test_a_ray_that_does_not_answer_is_one_line(
    address: str | None, variable: str, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(type(error)) as caught:
        start_ray({"address": address}, error)
    assert launchers.rejection(caught.value).startswith(said)
    assert "\n" not in launchers.rejection(caught.value)


def test_an_address_without_a_ray_is_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "_is_installed", lambda module: True)
    with pytest.raises(
        UserError,
        match=r"no Ray cluster answers at 127\.0\.0\.1:1: start one with `ray start --head`, or leave",
    ):
        compose.compose_sweep(
            [*SWEEP, "hydra/launcher=ray", "hydra.launcher.ray.init.address=127.0.0.1:1"]
        )


def test_what_no_launcher_said_is_not_taken_for_it() -> None:
    assert launchers.rejection(ConnectionError("of an architecture")) == ""


# --- what a process on another machine is told ------------------------------------------------------------------------


def test_a_task_brings_along_what_its_process_has_to_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = []
    monkeypatch.setattr(
        runner,
        "run_job",
        lambda config: there.append(
            (os.getcwd(), os.environ["BENCH_WORDS"], runner.command_arguments())
        ),
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_WORDS", '["arch=gru"]')
    monkeypatch.setenv("BENCH_DOOR", "another machine:1")
    posted = pickle.dumps(runner.HydraTask())
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
    posted = runner.HydraTask()
    monkeypatch.chdir("/")
    here.rmdir()
    monkeypatch.setattr(runner, "run_job", lambda config: pytest.fail("ran without its folder"))
    posted(OmegaConf.create())
    assert f"error: {here} can not be entered on" in capsys.readouterr().err


# --- sweeps that really run -------------------------------------------------------------------------------------------


def lacks(name: str) -> str:
    """Why a launcher can not be tried here; empty where it can."""
    command = ["sinfo"] if shutil.which("sinfo") else ["false"]
    if name == "slurm" and subprocess.run(command, capture_output=True, check=False).returncode:
        return "no Slurm answers on this machine"
    return launchers.missing_plugin(name)


@pytest.mark.slow
def test_every_launcher_trains_the_same_by_bit(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    losses = {}
    for name in ("basic", "local", "submitit_local", "slurm", "ray"):
        if why := lacks(name):
            print(f"{name} was not tried: {why}")
            continue
        more = ["hydra.launcher.mem_gb=1"] if name == "slurm" else []
        done = run_command(
            *tiny, *SWEEP, f"hydra/launcher={name}", f"results={name}", *more, timeout=600
        )
        assert done.returncode == 0, (name, done.stderr)
        folders = sorted((tmp_path / name / "single" / "runs").glob("[a-z]*"))
        assert len(folders) == 4
        losses[name] = {folder.name: left(folder) for folder in folders}
    assert {"basic", "local", "submitit_local"} <= losses.keys()
    assert all(found == losses["basic"] for found in losses.values())


@pytest.fixture
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of one node, this machine."""
    if why := lacks("ray"):
        pytest.skip(why)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = f"start --head --block --port={port} --num-cpus=2 --include-dashboard=false".split()
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while not launchers._accepts_connections("127.0.0.1", port):
            assert head.poll() is None, "ray start ended"
            assert time.monotonic() < end, "ray start took more than a minute"
            time.sleep(0.2)
        yield "auto"
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)


@pytest.mark.slow
def test_a_ray_cluster_takes_a_sweep(
    ray_cluster: str, run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = run_command(
        *tiny,
        *SWEEP,
        "hydra/launcher=ray",
        f"hydra.launcher.ray.init.address={ray_cluster}",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (
        len(list((tmp_path / "results" / "single" / "runs").glob("*/checkpoint/weights.pt"))) == 4
    )


def left(folder: Path) -> tuple[list[dict], dict[str, list]]:
    """What a run left that must not depend on who launched it: its curve but for the clock, and its weights."""
    rows = [
        json.loads(line) | {"seconds": 0}
        for line in (folder / "curve.jsonl").read_text().splitlines()
    ]
    weights = torch.load(folder / "checkpoint" / "weights.pt", weights_only=True)["model"]
    return rows, {name: value.tolist() for name, value in weights.items()}
