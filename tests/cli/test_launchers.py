"""Launchers: missing plug-ins, what a process on another machine is given, and real sweeps."""

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
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from bench.cli import compose, launchers
from bench.cli.sweep import Job, Sweep
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.execution import hydra_task
from tests.conftest import Command, assert_one_error

NAMES = {"arch": "gru", "data": "text"}
SWEEP = ["-m", "arch=gru,bigram", "seed=0,1"]


# --- before any work ------------------------------------------------------------------------------


def error_of(*arguments: str) -> UserError:
    """Return what is wrong with a command line, as one line."""
    with pytest.raises(UserError) as error:
        compose.compose_sweep(arguments)
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize("name", ["slurm", "submitit_local", "ray"])
def test_a_missing_plugin_is_one_line_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "_is_installed", lambda module: False)
    error = error_of(*SWEEP, f"hydra/launcher={name}")
    assert error.code == "missing-package"
    assert f"hydra/launcher={name}" in str(error)
    assert "python -m pip install" in str(error)


@pytest.mark.parametrize(
    ("name", "base"),
    [("slurm", "submitit_slurm"), ("submitit_local", "submitit_local"), ("local", "joblib")],
)
def test_a_plugin_whose_yamls_are_missing_is_the_same_line(
    name: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our YAMLs extend those of a plug-in: Hydra fails before the launcher is known."""
    compose.compose_sweep(SWEEP)  # now Hydra has looked for plug-ins
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{base}.yaml")
    monkeypatch.setattr(launchers, "_is_installed", lambda module: False)
    error = error_of(*SWEEP, f"hydra/launcher={name}")
    assert error.code == "missing-package"
    assert f"hydra/launcher={name}" in str(error)


def test_a_launcher_that_extends_nothing_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults:\n  - nothing\n")
    error = error_of("--config-dir", str(tmp_path), *SWEEP, "hydra/launcher=mine")
    assert error.code == "invalid-config"
    assert "hydra/launcher=mine" in str(error)


@pytest.mark.parametrize("name", ["slurm", "submitit_local", "ray"])
def test_a_launcher_without_a_sweep_does_not_train_here(name: str) -> None:
    assert error_of("arch=gru", f"hydra/launcher={name}").code == "launcher"


@pytest.mark.parametrize(
    "words", [[], ["hydra/launcher=local"], ["hydra/launcher=basic"], ["hydra/launcher=joblib"]]
)
def test_the_launchers_of_this_machine_take_one_run(words: list[str]) -> None:
    assert len(compose.compose_sweep(["arch=gru", *words]).runs) == 1


def test_an_unknown_key_of_a_launcher_points_to_its_yaml() -> None:
    error = error_of(*SWEEP, "hydra/launcher=submitit_local", "hydra.launcher.partitio=x")
    assert error.code == "unknown-key"
    assert "conf/hydra/launcher" in str(error)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_a_command_without_its_launcher_writes_nothing(
    call_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = call_command(*tiny, *SWEEP, "hydra/launcher=ray")
    assert_one_error(done, 2, "hydra-ray-launcher", "[missing-package]")
    assert not (tmp_path / "results").exists()


def test_slurm_without_slurm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    error = error_of(*SWEEP, "hydra/launcher=slurm")
    assert error.code == "launcher"
    assert "sbatch" in str(error)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert len(compose.compose_sweep([*SWEEP, "hydra/launcher=slurm"]).runs) == 4


# --- a cluster that rejects the jobs --------------------------------------------------------------

REJECTED = "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job failed"


@pytest.mark.parametrize(
    ("output", "reason"), [(REJECTED, "specified: nope; Batch job failed"), ("", "code 1")]
)
def test_a_rejection_by_sbatch_is_one_line(
    run_command: Command, tiny: list[str], tmp_path: Path, output: str, reason: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        (programs / name).write_text(f"#!/bin/sh\nprintf '%s' '{output}' >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    done = run_command(*tiny, *SWEEP, "hydra/launcher=slurm", PATH=path)
    assert_one_error(done, 2, "sbatch", reason, "[launcher]")
    assert "again=failed" not in done.stdout + done.stderr


def start_ray(init_cfg: dict, error: Exception) -> None:
    """Raise as the plug-in's function of this name does."""
    raise error


@pytest.mark.parametrize(
    ("address", "variable", "error", "reason"),
    [
        ("auto", "", ConnectionError("Could not find"), "answers at auto"),
        (None, "one:6379", ConnectionError("Could not find"), "answers at one:6379"),
        ("auto", "", RuntimeError("\nVersion mismatch: 1\n2"), "Version mismatch: 1"),
        (None, "", ValueError(), "ValueError"),
    ],
)
def test_a_ray_cluster_that_does_not_answer_is_one_line(
    address: str | None,
    variable: str,
    error: Exception,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(type(error)) as raised:
        start_ray({"address": address}, error)
    message = launchers.rejection(raised.value)
    assert reason in message
    assert "\n" not in message


def test_an_address_without_ray_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "_is_installed", lambda module: True)
    launcher = launchers.Launcher("ray", f"{launchers.RAY}.RayLauncher", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1") as error:
        launcher.check(is_sweep=True)
    assert error.value.code == "launcher"


def test_other_errors_are_not_taken_for_a_rejection() -> None:
    assert launchers.rejection(ConnectionError("of an architecture")) == ""


# --- what a process on another machine needs ------------------------------------------------------


def sweep_of(*overrides: str) -> Sweep:
    return Sweep((Job(Run(names=NAMES), overrides),), is_sweep=True)


def test_a_task_brings_what_its_process_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    monkeypatch.setattr(
        hydra_task.HydraTask, "run", lambda task, job: jobs.append((os.getcwd(), job, task.command))
    )
    monkeypatch.setattr(hydra_task, "_process_name", lambda: "another machine:1")
    monkeypatch.chdir(tmp_path)
    sweep = sweep_of("arch=gru", "seed=1")
    pickled = pickle.dumps(hydra_task.HydraTask(sweep))
    monkeypatch.setattr(hydra_task, "_process_name", lambda: "this machine:2")
    monkeypatch.chdir("/")
    hydra = {"hydra": {"overrides": {"task": ["arch=gru", "seed=1"]}}}
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(hydra).hydra)
    pickle.loads(pickled)(OmegaConf.create())
    assert jobs == [(str(tmp_path), sweep.jobs[0], sweep.command)]


def test_a_task_of_a_thousand_runs_is_small() -> None:
    runs = [Run(names=NAMES, seed=seed) for seed in range(1000)]
    jobs = tuple(Job(run, (f"seed={run.seed}",)) for run in runs)
    assert len(pickle.dumps(hydra_task.HydraTask(Sweep(jobs)))) < 100_000


def test_a_machine_without_the_folder_of_the_command_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    task = hydra_task.HydraTask(sweep_of("arch=gru"))
    monkeypatch.chdir("/")
    folder.rmdir()
    monkeypatch.setattr(hydra_task.HydraTask, "run", lambda task, job: pytest.fail("it ran"))
    task(OmegaConf.create())
    assert str(folder) in caplog.text


# --- sweeps that really run -----------------------------------------------------------------------


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
    """Return what must not depend on the launcher: the curve but for the clock, and the weights."""
    rows = [
        json.loads(line) | {"seconds": 0}
        for line in (folder / "curve.jsonl").read_text().splitlines()
    ]
    weights = torch.load(folder / "checkpoint" / "weights.pt", weights_only=True)["model"]
    return rows, {name: value.tolist() for name, value in weights.items()}
