"""Run the real commands in forks of a process that has imported everything: a start costs nothing.

A command runs in a fork, and its worker in a fork of that, in place of new interpreters; all else
is as it is.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from bench.system import processes
from bench.system.host import worker_environment
from bench.system.processes import ProcessResult

PRELOADED = "run finetune preferences execution.worker execution.run_command reporting".split()


def preload() -> None:
    """Import what the commands import, before any fork."""
    for name in PRELOADED:
        import_module(f"bench.{name}")
    for name in ("bench.reporting.build", "bench.execution.train_sweep", "pyarrow.parquet"):
        import_module(name)


def start(module: str, words: Sequence[str], folder: Path) -> int:
    """Start `python -m bench.MODULE words` in a folder as a fork; return its process id."""
    return _fork(lambda: _command(module, words, folder))


def run(module: str, words: Sequence[str], folder: Path) -> int:
    """Run a command to its end; return its exit code. Its output is in `output.txt`."""
    return os.waitstatus_to_exitcode(os.waitpid(start(module, words, folder), 0)[1])


def _fork(function: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if process := os.fork():
        return process
    code = 1
    try:
        code = function()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(module: str, words: Sequence[str], folder: Path) -> int:
    os.setsid()
    os.chdir(folder)
    output = os.open("output.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
    logging.getLogger("bench").handlers.clear()
    processes.run_module = run_module
    return int(import_module(f"bench.{module}").main(list(words)))


def run_module(
    command: Sequence[str],
    threads: int,
    limit_seconds: float | None = None,
    name: str = "",
    ranks: int = 1,
    environment: Mapping[str, str] | None = None,
) -> ProcessResult:
    """Stand for `processes.run_module`: the module runs in a fork of this process."""

    def work() -> int:
        os.environ.update(worker_environment(threads) | dict(environment or {}))
        logging.getLogger("bench").handlers.clear()
        return int(import_module(command[0]).main(list(command[1:])))

    process = _fork(work)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return ProcessResult(
        code, "" if code in processes.REPORTED_EXIT_CODES else f"ended with {code}"
    )
