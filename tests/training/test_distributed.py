"""Several processes that train one run: losses and record as of one, and reasons for failures."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bench.config.errors import UserError
from bench.config.identity import identity
from bench.config.schema import DataConfig, Run, SizeConfig, TrainConfig
from bench.config.validation import validate_run
from bench.system import gpus, host
from bench.system.processes import run_module
from bench.training import distributed
from bench.training.objective import Batch
from tests.conftest import ROOT, Command, assert_one_error
from tests.execution.disturbance import (
    CommandFolder,
    assert_readable,
    assert_same,
    until,
    workers,
)

ARCH = {"_target_": "architectures.bigram.Bigram", "tune": {"learning_rate": 0.01}}
CARDS = '#!/bin/sh\nfor n in 0 1 2 3; do echo "GPU-$n$n, NVIDIA Test, 600.1"; done\n'


def asked(**train: object) -> Run:
    return Run(
        arch=dict(ARCH),
        data=DataConfig(),
        size=SizeConfig(),
        train=TrainConfig(**{"batch": 8, **train}),
        names={"arch": "bigram"},
    )  # type: ignore[arg-type]


# --- before any process starts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"ranks": 3}, "train.ranks=3"),
        ({"ranks": 4, "accumulate": 4}, "train.accumulate=4"),
        ({"ranks": 0}, "train.ranks=0"),
        ({"sharding": "fsdp"}, "train.ranks=2"),
        ({"sharding": "zero"}, "train.sharding=zero"),
        ({"sharding": "fsdp", "ranks": 2, "compile": "default"}, "train.compile=none"),
        ({"ranks": 2, "compile": "reduce-overhead"}, "train.ranks=1"),
    ],
)
def test_what_can_not_be_split_is_said(train: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        validate_run(asked(**train))
    assert words in str(caught.value)


def test_the_command_says_it_before_anything_is_trained(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert_one_error(
        run_command(*tiny, "arch=gru", "train.ranks=3"),
        2,
        "train.ranks=3",
    )
    assert not (tmp_path / "results").exists()


def test_the_number_of_ranks_does_not_name_another_run() -> None:
    assert identity(asked()) == identity(asked(ranks=4, sharding="fsdp"))


# --- devices --------------------------------------------------------------------------------------


@pytest.fixture
def four_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver lists four cards."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text(CARDS)
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    host._driver_gpus.cache_clear()
    yield
    host._driver_gpus.cache_clear()


@pytest.mark.usefixtures("four_cards")
def test_devices_are_those_that_the_process_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.visible_gpus() == ("GPU-00", "GPU-11", "GPU-22", "GPU-33")
    assert host.gpu_names() == ("NVIDIA Test, 600.1",) * 4
    assert host.parallel_jobs(1) == 4
    assert host.parallel_jobs(1, 2) == 2
    for given, seen in {
        "2,0": ("GPU-22", "GPU-00"),
        "": (),
        "-1": (),
        "1,9,2": ("GPU-11",),
        "GPU-3": ("GPU-33",),
    }.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert host.visible_gpus() == seen


@pytest.mark.usefixtures("four_cards")
def test_each_run_has_devices_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bench")

    def shown(run: Run) -> dict[str, str]:
        with gpus.reserve_gpus(run) as seen:
            return seen

    with (
        gpus.reserve_gpus(asked()) as first,
        gpus.reserve_gpus(asked(ranks=2)) as second,
    ):
        assert first == {"CUDA_VISIBLE_DEVICES": "GPU-00"}
        assert second == {"CUDA_VISIBLE_DEVICES": "GPU-11,GPU-22"}
        assert shown(asked()) == {"CUDA_VISIBLE_DEVICES": "GPU-33"}
        assert shown(asked(device="cpu")) == {}
        monkeypatch.setattr(time, "sleep", lambda seconds: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError), gpus.reserve_gpus(asked(ranks=2)):
            pass
        (record,) = caplog.records
        assert record.args[1:3] == (2, 4)
        assert str(record.args[3]).count(f"process {os.getpid()} ") == 4  # the holder of each
        assert shown(asked()) == {"CUDA_VISIBLE_DEVICES": "GPU-33"}  # who waits holds none
    assert shown(asked()) == {"CUDA_VISIBLE_DEVICES": "GPU-00"}
    with pytest.raises(UserError, match=r"train\.ranks=4"):
        gpus.check_gpu_count(asked(ranks=8))
    gpus.check_gpu_count(asked(ranks=8, device="cpu"))


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        ("sys.exit(3)", 3, ""),
        ("rank or sys.exit(4); time.sleep(600)", 4, ""),
        ("sys.exit(0 if rank else 2)", 2, ""),
        ("rank or time.sleep(600); os.kill(os.getpid(), 9)", -9, "rank 1 of 2 killed (SIGKILL)"),
        (
            "rank and os.kill(os.getpid(), 11); raise RuntimeError('the other is gone')",
            -11,
            "rank 1 of 2 killed by SIGSEGV",
        ),
        ("rank and sys.exit('no device'); raise RuntimeError('the other is gone')", 1, "no device"),
    ],
)
def test_the_end_of_a_rank(
    body: str, code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.system.processes.GRACE_SECONDS", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    wait = "time.sleep(0.4 * (not rank))\n" if "other is gone" in body else ""
    (tmp_path / "body.py").write_text(
        f"import os, sys, time\nrank = int(os.environ['RANK'])\n{wait}{body}\n"
    )
    end = run_module(["body"], 1, ranks=2)
    assert end.code == code
    assert reason in end.reason
    assert bool(reason) == bool(end.reason)


def test_a_share_is_some_rows_of_the_global_batch() -> None:
    block = torch.arange(24).view(6, 4)
    batch = Batch(block, block + 1, torch.ones(6, 4))
    shares = [distributed.ProcessGroup(rank, 3).shard(batch) for rank in range(3)]
    assert all(share.lengths is None for share in shares)
    for field in range(3):
        assert torch.equal(torch.cat([share[field] for share in shares]), batch[field])


# --- two processes against one --------------------------------------------------------------------


@pytest.mark.slow
def test_two_ranks_train_what_one_does(tmp_path: Path) -> None:
    """At the same global batch: losses equal to 1e-5 over 50 steps; a checkpoint fits either."""
    from tests.training.distributed_cases import CASES, STEPS, train_case

    end = run_module(["tests.training.distributed_cases", str(tmp_path)], 1, ranks=2)
    assert end == (0, ""), end
    torch.set_num_threads(1)
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    for case in CASES:
        expected = train_case(case)
        assert first[case]["nats"] == second[case]["nats"], case
        assert first[case]["weights"] == second[case]["weights"], case
        near = (
            2e-4 if case == "muon" else 1e-5
        )  # its products in bfloat16 make more of a rounding; so do micro-batches of one
        assert first[case]["nats"] == pytest.approx(expected["nats"], abs=near, rel=0), case
        assert expected["nats"][-1] < expected["nats"][0]
        shards = [each[case]["held"] for each in (first, second)]
        assert sum(shards) == (1 if "shards" in case else 2) * expected["parameters"], case
        half = train_case(case, folder=tmp_path / case, first=STEPS // 2 + 2)
        assert half["nats"] == pytest.approx(expected["nats"][2:], abs=near, rel=0), case


WORDS = (
    "data=text size=tiny measure=off arch=gru train.steps=250 train.batch=4 train.log_every=7 "
    "train.validations=3 train.checkpoint_seconds=0.2 evaluate.sample_tokens=10 train.ranks=2"
)


def curve(place: CommandFolder) -> list[dict]:
    return [json.loads(line) for line in (place.runs()[0] / "curve.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_one_record_by_rank_0_however_often_it_is_stopped(tmp_path: Path, sharding: str) -> None:
    one, two = (
        CommandFolder(tmp_path / "one", WORDS.replace("ranks=2", "ranks=1")),
        CommandFolder(tmp_path / "two", WORDS),
    )
    two.words.append(f"train.sharding={sharding}")
    assert one.run().returncode == 0
    process = two.start()
    until(lambda: two.steps() > 100, process)
    assert len(workers(process)) == 2
    os.kill(workers(process)[1], signal.SIGTERM)  # one of them hears it: all save and stop
    process.communicate(timeout=240)
    assert not (two.runs()[0] / "result.json").exists()
    stopped = torch.load(two.runs()[0] / "checkpoint" / "training.pt", weights_only=True)["step"]
    process = two.start()
    until(lambda: two.steps() > stopped + 50, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=240)
    time.sleep(3)
    done = two.run()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": done") == 1
    assert_readable(two.runs()[0])
    expected, found = curve(one), curve(two)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for name in ("nats", "validation_nats"):
        values = [[row[name] for row in rows if name in row] for rows in (expected, found)]
        assert values[1] == pytest.approx(values[0], abs=2e-4)  # 250 steps, whose roundings grow
    facts = json.loads((two.runs()[0] / "result.json").read_text())["facts"]
    assert (facts["ranks"], facts["sharding"]) == (2, sharding)
    again = two.run("train.ranks=1", "train.sharding=none")
    assert "done before, not run again" in again.stderr


@pytest.mark.slow
def test_a_dead_rank_is_the_run_s_record(tmp_path: Path) -> None:
    place = CommandFolder(tmp_path / "dead", WORDS)
    process = place.start()
    until(lambda: place.steps() > 100, process)
    os.kill(workers(process)[1], signal.SIGKILL)
    out, error = process.communicate(timeout=240)
    assert process.returncode == 1, error
    assert "failed: rank 1 of 2 killed (SIGKILL)" in out
    done = place.run("again=failed")
    assert done.returncode == 0, done.stderr
    assert (place.runs()[1] / "curve.jsonl").exists()


@pytest.mark.slow
def test_torchrun_on_two_machines_trains_what_ranks_on_one_do(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    """Two agents with a process each, as on two machines; a sweep of two runs."""
    assert (
        run_command(
            *tiny, "-m", "arch=gru,bigram", "train.ranks=2", "results=here", "hydra/launcher=basic"
        ).returncode
        == 0
    )
    meet = "--nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-id=test "
    meet += "--rdzv-endpoint=127.0.0.1:29433"
    words = [
        *meet.split(),
        "-m",
        "bench.run",
        *tiny,
        "-m",
        "arch=gru,bigram",
        "results=there",
        "hydra/launcher=basic",
    ]
    agents = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *words], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [agent.communicate(timeout=240)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert "".join(said).count(": done") == 2
    runs = [
        sorted((tmp_path / name / "single" / "runs").glob("[a-z]*")) for name in ("here", "there")
    ]
    assert [run.name for run in runs[0]] == [run.name for run in runs[1]]
    for one, other in zip(*runs, strict=True):
        assert_same(one, other)
