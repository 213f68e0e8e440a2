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


# --- a text that changed --------------------------------------------------------------------------


def test_a_run_of_another_text_is_run_again_beside_it(
    tmp_path: Path, trained: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(a_run(tmp_path), (), data_digest="d")  # as the worker records it
    runner.run_in_subprocess(job, CommandLine())
    caplog.set_level("INFO", "bench")
    runner.run_in_subprocess(job, CommandLine())
    assert len(trained) == 1
    assert "not run again" in caplog.text
    changed = job._replace(data_digest="e")
    runner.run_in_subprocess(changed, CommandLine(began=0.0))
    assert [folder.name for folder in trained] == [trained[0].name, f"{trained[0].name}-a2"]
    assert "changed since" in caplog.text
    assert runner.ensure_run(job, CommandLine()).folder == trained[-1]
    assert not store.select_folder(job.run, data_digest="d")[1]


def test_the_digest_is_found_where_the_command_does_not_give_it(
    tmp_path: Path, trained: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    run, path = a_run(tmp_path), tmp_path / "a.txt"
    run = replace(run, data=replace(run.data, path=str(path)))
    job = Job(run, ())
    for text, attempts in (("one text " * 99, 2), ("another! " * 99, 3)):
        path.write_text(text)
        digest = runner.current_data_digest(run)
        runner.run_in_subprocess(job, CommandLine())
        store.add_provenance(trained[-1], {"data": digest}, {})
        runner.run_in_subprocess(job, CommandLine())
        assert len(trained) == attempts - 1
    path.unlink()  # then what was done stays
    runner.run_in_subprocess(job, CommandLine())
    assert len(trained) == 2
