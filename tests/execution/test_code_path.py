"""How many files a reader steps through from a command to the record of its run."""

import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import bench
from bench import run as run_module
from bench.execution import runner, worker
from bench.records import store
from bench.system.processes import ProcessResult

PACKAGE = Path(bench.__file__).parent
LIMIT = 12  # files


def files_on_stack() -> set[str]:
    """Return the files of `bench` that the current call has passed through."""
    frames = (Path(frame.filename) for frame in traceback.extract_stack())
    return {str(file.relative_to(PACKAGE)) for file in frames if file.is_relative_to(PACKAGE)}


@pytest.fixture
def kept_process_state() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("kept_process_state")
def test_a_run_passes_through_few_files_from_its_command_to_its_record(
    monkeypatch: pytest.MonkeyPatch, tiny: list[str], tmp_path: Path
) -> None:
    passed: set[str] = set()
    write_json = store.write_json

    def run_here(command: list[str], *_: object) -> ProcessResult:
        passed.update(files_on_stack())
        passed.add("system/processes.py")  # whose call this function replaces
        return ProcessResult(worker.main(command[1:]))

    def write(path: Path, value: object) -> None:
        if path.name == "result.json":
            passed.update(files_on_stack())
        write_json(path, value)

    monkeypatch.setattr(runner.processes, "run_module", run_here)
    monkeypatch.setattr(store, "write_json", write)
    words = ["arch=bigram", *tiny, f"results={tmp_path}", "evaluate.windows=0"]
    monkeypatch.setattr("bench.run.measure_and_report", lambda *_: None)
    run_module.main(words)
    assert [*tmp_path.glob("single/runs/*/result.json")]
    assert {"run.py", "execution/worker.py", "records/store.py"} <= passed
    assert len(passed) <= LIMIT, sorted(passed)
