"""A run that another one starts from: read, waited for, or trained, and never twice."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.sweep import CommandLine, Job
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.execution import runner
from bench.records import store
from bench.records.finished import FinishedRun, open_finished
from bench.records.metrics import metric
from bench.system import processes
from tests.execution.test_exit_codes import a_run


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders in which a worker trained, in order; it takes a while for each."""
    folders = []

    def train(run: Run, folder: Path) -> processes.ProcessResult:
        time.sleep(0.2)
        folders.append(folder)
        (folder / "checkpoint").mkdir(exist_ok=True)
        (folder / "checkpoint" / "weights.pt").write_bytes(folder.name.encode())
        store.add_provenance(folder, {"data": "d", "source": "s"}, {})
        facts = {"objective": "causal"}
        store.write_result(folder, "done", metrics=[metric("bits_per_byte", 2.0)], facts=facts)
        return processes.ProcessResult(0)

    monkeypatch.setattr(runner, "_run_worker", train)
    return folders


def test_two_processes_that_need_one_run_train_it_once(tmp_path: Path, trained: list[Path]) -> None:
    job, finished = Job(a_run(tmp_path), ()), list[FinishedRun]()
    threads = [
        threading.Thread(target=lambda: finished.append(runner.ensure_run(job, CommandLine())))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 1
    assert set(finished) == {open_finished(trained[0])}


def test_again_repeats_what_is_asked_for_and_not_what_it_starts_from(
    tmp_path: Path, trained: list[Path]
) -> None:
    job = Job(a_run(tmp_path), ())
    first = runner.ensure_run(job, CommandLine())
    again = job._replace(run=replace(job.run, again="all"))
    assert runner.ensure_run(again, CommandLine()) == first
    runner.run_in_subprocess(again, CommandLine())  # a further attempt: other weights
    assert runner.ensure_run(job, CommandLine()).folder == trained[1] != trained[0]
    assert runner.ensure_run(job, CommandLine()).weights_sha256 != first.weights_sha256


def test_a_run_that_failed_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_run_worker", lambda *_: processes.ProcessResult(4))
    with pytest.raises(runner.RunNotDone) as raised:
        runner.ensure_run(Job(a_run(tmp_path), ()), CommandLine())
    assert raised.value.status == "failed"


def test_a_run_without_its_weights_is_a_line(tmp_path: Path, trained: list[Path]) -> None:
    job = Job(a_run(tmp_path), ())
    runner.ensure_run(job, CommandLine())
    (trained[0] / "checkpoint" / "weights.pt").unlink()
    with pytest.raises(UserError) as raised:
        runner.ensure_run(job, CommandLine())
    assert raised.value.code == "unreadable-file"
