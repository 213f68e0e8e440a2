"""Run modules in worker processes and report how they end."""

import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import IO, NamedTuple

import psutil

from bench.system import signals
from bench.system.host import RENDEZVOUS, worker_environment

PROGRESS_PREFIX = "~ "  # marks a line of a worker that the next one may replace
ESTIMATE_PREFIX = "~seconds "  # marks a worker's line about how long its next part takes
# a worker whose part takes so many times its estimate, and at least these seconds, is ended
LIMIT_FACTOR, MIN_LIMIT_SECONDS = 10.0, 600.0
BY_ESTIMATE = -1.0  # as a limit
EXIT_NOT_RECORDED = 5  # a worker could not write its record
# exit codes of a worker whose own record or message has the reason
REPORTED_EXIT_CODES = (0, 2, signals.EXIT_STOPPED, 4, EXIT_NOT_RECORDED)
GRACE_SECONDS = 20.0  # between asking a process to end and killing it
TAIL_LINES = 30  # of a worker's output, kept for the reason of its death
logger = logging.getLogger(__name__)


class ProcessResult(NamedTuple):
    """Say how a process ended: its exit code, and the reason where it was not its own decision."""

    code: int
    reason: str = ""


class OutputForwarder(Thread):
    """Log the lines of a worker's standard error, keep the last ones and its own time limit."""

    def __init__(self, name: str, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self.label, self.stream, self.tail = name, stream, deque[str](maxlen=TAIL_LINES)
        self.limit, self.deadline = math.inf, math.inf  # seconds, and by time.monotonic()

    def run(self) -> None:
        """Forward lines until the worker closes its standard error."""
        with self.stream:
            for line in map(str.rstrip, self.stream):
                if line.startswith(PROGRESS_PREFIX):
                    progress = line.removeprefix(PROGRESS_PREFIX)
                    logger.info("%s: %s", self.label, progress, extra={"progress": True})
                elif line.startswith(ESTIMATE_PREFIX):
                    with contextlib.suppress(ValueError):
                        self.limit = limit_for(float(line.removeprefix(ESTIMATE_PREFIX)))
                        self.deadline = time.monotonic() + self.limit
                else:
                    self.tail.append(line)
                    logger.info("%s", line)


def announce_estimate(seconds: float) -> None:
    """Tell the process that runs this worker how long its next part takes, about.

    It ends a worker that takes ten times as long, and at least ten minutes, before the next word.
    """
    logger.info("about %.0f s", seconds, extra={"estimate": seconds})


def limit_for(estimate: float) -> float:
    """Return after how many seconds a part of a run with such an estimate is taken to hang."""
    return max(MIN_LIMIT_SECONDS, LIMIT_FACTOR * estimate)


def run_module(
    command: Sequence[str],
    threads: int,
    limit_seconds: float | None = None,
    name: str = "",
    ranks: int = 1,
    environment: Mapping[str, str] | None = None,
) -> ProcessResult:
    """Run `python -m command` in one process, or in `ranks` that train together, and wait for it.

    Codes of REPORTED_EXIT_CODES (of rank 0) are returned without a reason. All processes are ended
    after `limit_seconds` (0 or None: no limit; BY_ESTIMATE: the one that the worker's own estimates
    set) and on Ctrl-C, which is raised again. `name` labels progress.
    """
    with tempfile.TemporaryDirectory() as folder:
        processes, readers = [], []
        try:
            for rank in range(ranks):
                variables = worker_environment(threads) | dict(environment or {})
                variables |= _rank_environment(rank, ranks, folder) if ranks > 1 else {}
                process = subprocess.Popen(
                    [sys.executable, "-m", *command],
                    stderr=subprocess.PIPE, text=True, errors="replace", env=variables,
                    start_new_session=True,
                )  # fmt: skip
                processes.append(process)
                assert process.stderr is not None
                readers.append(OutputForwarder(name, process.stderr))
                readers[-1].start()
            with _save_before_launcher_acts(processes):
                return _wait_for_result(processes, readers, limit_seconds)
        except BaseException:
            _terminate(processes)
            raise


def _rank_environment(rank: int, ranks: int, folder: str) -> dict[str, str]:
    """Return the variables that torchrun, too, sets for one of several processes."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        RENDEZVOUS: f"file:{folder}/meeting",
    }


class _SignalReceived(BaseException):
    """Interrupt the wait for a process by a signal that the launcher handles."""


@contextlib.contextmanager
def _save_before_launcher_acts(processes: Sequence[subprocess.Popen]) -> Iterator[None]:
    """Have workers save before a launcher (submitit, on SIGUSR2) acts on the end of its time."""
    handlers = {number: signal.getsignal(number) for number in signals.TIME_LIMIT_SIGNALS}
    in_main = current_thread() is main_thread()
    launcher = {n: handler for n, handler in handlers.items() if callable(handler) and in_main}

    def interrupt(number: int, _: FrameType | None) -> None:
        raise _SignalReceived(number)

    with signals.handle_signals(interrupt, list(launcher)):
        try:
            yield
        except _SignalReceived as received:
            _terminate(processes)
            number = received.args[0]
            launcher[number](number, None)
            raise signals.Terminated(number) from None


def _wait_for_result(
    processes: Sequence[subprocess.Popen], readers: Sequence[OutputForwarder], limit: float | None
) -> ProcessResult:
    """Wait for all ranks, and return how the one ended that decides, or which limit was passed."""
    ended = _wait_for_ranks(processes, readers[0], limit)
    if not any(ended.values()) and len(ended) < len(processes):
        _terminate(processes, signal.SIGKILL)
        return ProcessResult(-signal.SIGKILL, _limit_reason(limit, readers[0].limit))
    _terminate(processes)  # what is left after one has failed
    for reader in readers:
        reader.join(timeout=5)
    if ended.get(0) in REPORTED_EXIT_CODES:
        return ProcessResult(ended[0])
    failed = [(rank, code) for rank, code in ended.items() if code]
    rank, code = min(failed, key=lambda item: item[1] > 0)  # killed before those that missed it
    which = f"rank {rank} of {len(processes)} " if len(processes) > 1 else ""
    return ProcessResult(code, which + _describe_death(code, readers[rank].tail))


def _wait_for_ranks(
    processes: Sequence[subprocess.Popen], reader: OutputForwarder, limit: float | None
) -> dict[int, int]:
    """Wait for all ranks, up to a limit; return the exit codes by rank, in order of time.

    Once a rank fails, the others have GRACE_SECONDS to end by themselves.
    """
    deadline = time.monotonic() + (limit if limit and limit > 0 else math.inf)
    ended: dict[int, int] = {}
    while len(ended) < len(processes):
        for rank, process in enumerate(processes):
            if rank not in ended and process.poll() is not None:
                ended[rank] = process.returncode
                if process.returncode:
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        by_estimate = reader.deadline if limit == BY_ESTIMATE else math.inf
        if time.monotonic() > min(deadline, by_estimate):
            break
        time.sleep(0.05)
    return ended


def _limit_reason(limit: float | None, by_estimate: float) -> str:
    if limit != BY_ESTIMATE:
        return f"took longer than train.limit_seconds={limit:g} and was ended"
    return (
        f"made no progress for {by_estimate:,g} s and was ended: that is {LIMIT_FACTOR:g} times "
        f"its estimate, and at least {MIN_LIMIT_SECONDS:,g} s; train.limit_seconds sets another "
        "limit, 0 none"
    )


def kill_children() -> None:
    """Kill all processes that this one has started, and theirs.

    Trackers of shared resources are left: without any process to serve they clean up and end.
    """
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()


def _terminate(
    processes: Sequence[subprocess.Popen], first: signal.Signals = signal.SIGTERM
) -> None:
    """End processes and their children: by `first`, then, or on Ctrl-C, by SIGKILL."""
    try:
        for number in (first, signal.SIGKILL):
            for process in processes:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
            deadline = time.monotonic() + GRACE_SECONDS
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
            if all(process.returncode is not None for process in processes):
                return
    except KeyboardInterrupt:
        kill_children()
        raise


def _describe_death(code: int, tail: Sequence[str]) -> str:
    if code == -signal.SIGKILL:
        return "killed (SIGKILL), usually because the machine ran out of memory"
    end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    last = next((line for line in reversed(tail) if line.strip()), "")
    return f"{end}: {last}" if last else end
