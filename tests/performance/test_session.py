"""Sessions: one at a time, entries and their processes, and what an interrupted one keeps."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config.identity import workload_id
from bench.config.schema import MeasureConfig
from bench.performance import exclusive_session, needs_measuring, run_session, session
from bench.performance.session import LOCK_NAME, limit_processes, make_entries
from bench.performance.worker_client import WorkerClient
from bench.records import store
from bench.system import locks
from bench.system.signals import Terminated
from tests.performance.conftest import OPTIONS, make_run


def test_a_second_session_waits_for_the_first(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bench")
    inside = threading.Event()

    def second() -> None:
        with exclusive_session():
            inside.set()

    lock = locks.machine_lock(LOCK_NAME)
    with lock:
        locks.write_holder(lock)
        thread = threading.Thread(target=second)
        thread.start()
        end = time.monotonic() + 30
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.01)
        assert not inside.is_set()
    thread.join(30)
    assert inside.is_set()
    assert f"process {os.getpid()} " in caplog.records[0].getMessage()


def test_each_workload_has_one_entry_and_the_first_has_two() -> None:
    runs = [make_run("Sum"), make_run("Short"), make_run("Sum", seed=1)]
    vocabularies = {workload_id(run): 30 for run in runs}
    entries = make_entries(runs, vocabularies, OPTIONS)
    names = [(entry.run.names["arch"], entry.duplicate) for entry in entries]
    assert names == [("sum", False), ("short", False), ("sum", True)]
    assert entries[-1].name == entries[0].name + "-again"
    assert entries[-1].samples is not entries[0].samples


def test_encoders_come_last_as_they_cannot_be_the_reference_of_decoding() -> None:
    short, first = make_run("Short"), make_run("Sum")
    encoder = replace(short, arch=short.arch | {"family": "encoder"})
    vocabularies = {workload_id(run): 30 for run in (encoder, first)}
    entries = make_entries([encoder, first], vocabularies, OPTIONS)
    assert [entry.run.names["arch"] for entry in entries] == ["sum", "short", "sum"]


@pytest.mark.parametrize(("count", "processes"), [(2, 6), (8, 6), (12, 5), (20, 3), (34, 3)])
def test_many_entries_get_fewer_processes_each(count: int, processes: int) -> None:
    assert limit_processes(MeasureConfig(processes=6), count).processes == processes
    assert limit_processes(MeasureConfig(processes=1), count).processes == 1


# --- interrupted ----------------------------------------------------------------------------------


def interrupt(error: BaseException) -> Callable[..., None]:
    def stage(*arguments: object, **keywords: object) -> None:
        raise error

    return stage


def test_no_process_is_left_when_a_session_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, workers = make_run("Sum"), list[WorkerClient]()
    start = WorkerClient.__init__

    def noted(worker: WorkerClient, *arguments: object) -> None:
        start(worker, *arguments)  # type: ignore[arg-type]
        workers.append(worker)

    monkeypatch.setattr(WorkerClient, "__init__", noted)
    monkeypatch.setattr(session, "prepare_in_parallel", interrupt(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_session([run], {workload_id(run): 30}, tmp_path, OPTIONS)
    assert len(workers) == 2
    assert all(worker.process.poll() is not None for worker in workers)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("stage", "has_memory"),
    [
        pytest.param("measure_step_details", False, marks=pytest.mark.slow),
        ("calibrate", True),
    ],
)
def test_an_interrupted_session_is_kept_and_measured_again(
    stage: str, has_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("Sum")
    monkeypatch.setattr(session, stage, interrupt(Terminated(signal.SIGTERM)))
    with pytest.raises(KeyboardInterrupt):
        run_session([run], {workload_id(run): 30}, tmp_path, OPTIONS)
    (folder,) = tmp_path.glob(f"measure/*/sum-{workload_id(run)}")
    result, subject = (store.read_json(folder / f"{n}.json") for n in ("result", "subject"))
    values = {m["name"]: m["values"] for m in reversed(result["metrics"])}
    assert (result["status"], len(values["train_tokens_per_second"])) == ("done", 5)
    assert bool(values["peak_train_memory_bytes"]) == has_memory
    assert subject["surroundings"]["stopped"] is True
    assert subject["surroundings"]["process_starts"][0] == 0
    assert needs_measuring([run], tmp_path, OPTIONS)


def test_measuring_is_imported_without_torch() -> None:
    script = "import sys, bench.performance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
