"""A fresh process for each run: a death becomes a line to record, and takes nothing else down."""

import contextlib
import logging
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

from bench.system import signals
from bench.system.host import RENDEZVOUS, worker_environment

logger = logging.getLogger(__name__)

PROGRESS_PREFIX = "~ "  # what a line begins with that the next one may replace
EXIT_NOT_RECORDED = 5  # exit code of a process that could not write its record
REPORTED_EXIT_CODES = (
    0,
    2,
    3,
    4,
    EXIT_NOT_RECORDED,
)  # exit codes by which a module says that its own record tells the rest
GRACE_SECONDS = 20.0  # seconds to come to an end in


class ProcessResult(NamedTuple):
    """How a process ended: its exit code, and why, where it did not end by itself."""

    code: int
    reason: str = ""


class OutputForwarder:
    """Log the lines of a process's standard error as they come, and keep the last ones."""

    def __init__(self, name: str) -> None:
        self.name, self.tail = name, deque[str](maxlen=30)

    def forward(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                text = line.rstrip("\n")
                if text.startswith(PROGRESS_PREFIX):
                    text = text.removeprefix(PROGRESS_PREFIX)
                    logger.info(f"{self.name}: {text}", extra={"progress": True})
                else:
                    self.tail.append(text)
                    logger.info(text)


def _describe_death(code: int, tail: Sequence[str]) -> str:
    last = next((line for line in reversed(tail) if line.strip()), "")
    if code == -signal.SIGKILL:
        return "killed (SIGKILL): most often because the machine ran out of memory"
    word = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{word}: {last}" if last else word


def run_module(
    module: str,
    arguments: Sequence[str],
    threads: int,
    limit_seconds: float = 0.0,
    name: str = "",
    ranks: int = 1,
    more: Mapping[str, str] | None = None,
) -> ProcessResult:
    """Run `python -m module arguments` in a process of its own, or in several `ranks` that train together, and wait for it.

    Its own exit codes (OWN_WORDS) are passed on, of several the first one's; a traceback or a signal is a death, with its
    reason. Past `limit_seconds` (0: no limit) all are ended. Ctrl-C ends them too, and is raised again. `more`: of the
    environment.
    """
    with tempfile.TemporaryDirectory() as place:
        processes, voices = [], []
        try:
            for rank in range(ranks):
                environment = (
                    worker_environment(threads)
                    | dict(more or {})
                    | (_rank_environment(rank, ranks, place) if ranks > 1 else {})
                )
                processes.append(subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    stderr=subprocess.PIPE, text=True, errors="replace", env=environment, start_new_session=True,
                ))  # fmt: skip
                voices.append(OutputForwarder(name))
            with _save_before_launcher_acts(processes):
                return _wait_for_result(processes, voices, limit_seconds)
        except BaseException:
            _terminate(processes, signal.SIGTERM)
            raise


class _SignalReceived(BaseException):
    """A signal that the launcher of this process listens to."""


@contextlib.contextmanager
def _save_before_launcher_acts(processes: Sequence[subprocess.Popen]) -> Iterator[None]:
    """A launcher that hears that its job's time is up (submitit, by SIGUSR2) acts on it once what trains has saved."""
    before = {number: signal.getsignal(number) for number in signals.TIME_LIMIT_SIGNALS}
    theirs = {number: handler for number, handler in before.items() if callable(handler)}

    def hear(number: int, frame: FrameType | None) -> None:
        raise _SignalReceived(
            number
        )  # whoever waits for a process can not be interrupted to wait for it

    for number in theirs if current_thread() is main_thread() else ():
        signal.signal(number, hear)
    try:
        yield
    except _SignalReceived as heard:
        _terminate(processes, signal.SIGTERM)
        theirs[heard.args[0]](heard.args[0], None)
        raise signals.Terminated(heard.args[0]) from None
    finally:
        for number, handler in theirs.items() if current_thread() is main_thread() else ():
            signal.signal(number, handler)


def _rank_environment(rank: int, ranks: int, place: str) -> dict[str, str]:
    """What torchrun, too, tells a process of its place among those that train together."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        RENDEZVOUS: f"file:{place}/meeting",
    }


def _wait_for_result(
    processes: Sequence[subprocess.Popen], voices: Sequence[OutputForwarder], limit_seconds: float
) -> ProcessResult:
    readers = [
        Thread(target=v.forward, args=(p.stderr,), daemon=True)
        for v, p in zip(voices, processes, strict=True)
    ]
    for reader in readers:
        reader.start()
    if len(processes) == 1:
        ended = _wait_for_one(processes[0], limit_seconds)
    else:
        ended = _wait_for_ranks(processes, limit_seconds)
    if ended is None:
        _terminate(processes, signal.SIGKILL)
        return ProcessResult(
            -signal.SIGKILL, f"took longer than train.limit_seconds={limit_seconds:g} and was ended"
        )
    for reader in readers:
        reader.join(timeout=5)
    rank, code = ended
    which = f"rank {rank} of {len(processes)} " if len(processes) > 1 else ""
    return ProcessResult(
        code,
        ""
        if code in REPORTED_EXIT_CODES and not rank
        else which + _describe_death(code, voices[rank].tail),
    )


def _wait_for_one(process: subprocess.Popen, limit_seconds: float) -> tuple[int, int] | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return 0, process.wait(limit_seconds or None)
    return None


def _wait_for_ranks(
    processes: Sequence[subprocess.Popen], limit_seconds: float
) -> tuple[int, int] | None:
    """Wait for all: whose word counts, and its exit code; None past the limit.

    Where one ends otherwise than well, the others have a while to come to an end of their own, and are then ended.
    """
    end = time.monotonic() + (limit_seconds or float("inf"))
    ended: dict[int, int] = {}  # exit codes, in the order in which they came
    while len(ended) < len(processes):
        for rank, process in enumerate(processes):
            if rank not in ended and process.poll() is not None:
                ended[rank] = process.returncode
                end = min(end, time.monotonic() + GRACE_SECONDS) if process.returncode else end
        if time.monotonic() > end:
            if not any(ended.values()):
                return None
            _terminate(processes, signal.SIGTERM)
            break
        time.sleep(0.05)
    if ended.get(0) in REPORTED_EXIT_CODES:
        return 0, ended[0]
    bad = [(rank, code) for rank, code in ended.items() if code]
    return min(bad, key=lambda item: item[1] > 0)  # who was killed, before those who then missed it


def _terminate(processes: Sequence[subprocess.Popen], first: signal.Signals) -> None:
    """End processes and all that they started: gently, unless told otherwise, then not."""
    for sign in (first, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
        end = time.monotonic() + GRACE_SECONDS
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
        if all(process.returncode is not None for process in processes):
            return
