"""A fresh process for each run: a death becomes a line to record, and takes nothing else down."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from threading import Thread
from typing import IO, NamedTuple

from bench.machine import process_environment

PROGRESS = "~ "  # what a line begins with that the next one may replace
UNWRITTEN = 5  # exit code of a process that could not write its record
OWN_WORDS = (0, 2, 3, 4, UNWRITTEN)  # exit codes by which a module says that its own record tells the rest
SECONDS = 10.0  # between progress lines where the output is no terminal


class End(NamedTuple):
    """How a process ended: its exit code, and why, where it did not end by itself."""

    code: int
    reason: str = ""


class Voice:
    """Passes a process's lines on: progress in place on a terminal, now and then elsewhere; all else as it comes."""

    def __init__(self, name: str) -> None:
        self.name, self.tail, self.spoke = name, deque[str](maxlen=30), 0.0
        self.terminal = sys.stderr.isatty()

    def say(self, line: str) -> None:
        if not line.startswith(PROGRESS):
            self.tail.append(line)
            print(("\r\x1b[K" if self.terminal else "") + line, file=sys.stderr, flush=True)
        elif self.terminal:
            print(f"\r\x1b[K{self.name}: {line.removeprefix(PROGRESS)}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.spoke > SECONDS:
            self.spoke = time.monotonic()
            print(f"{self.name}: {line.removeprefix(PROGRESS)}", file=sys.stderr, flush=True)

    def listen(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.say(line.rstrip("\n"))
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _why(code: int, tail: Sequence[str]) -> str:
    last = next((line for line in reversed(tail) if line.strip()), "")
    if code == -signal.SIGKILL:
        return "killed (SIGKILL): most often because the machine ran out of memory"
    word = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{word}: {last}" if last else word


def alone(module: str, arguments: Sequence[str], threads: int, limit_seconds: float = 0.0, name: str = "") -> End:
    """Run `python -m module arguments` in a process of its own and wait for it.

    Its own exit codes (OWN_WORDS) are passed on; a traceback or a signal is a death, with its reason. Past
    `limit_seconds` (0: no limit) the process is ended. Ctrl-C ends it too, and is raised again.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.PIPE, text=True, errors="replace", env=process_environment(threads), start_new_session=True,
    )  # fmt: skip
    voice = Voice(name)
    assert process.stderr is not None
    reader = Thread(target=voice.listen, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        code = process.wait(limit_seconds or None)
    except subprocess.TimeoutExpired:
        _stop(process, signal.SIGKILL)
        return End(-signal.SIGKILL, f"took longer than train.limit_seconds={limit_seconds:g} and was ended")
    except BaseException:
        _stop(process, signal.SIGTERM)
        raise
    reader.join(timeout=5)
    return End(code, "" if code in OWN_WORDS else _why(code, voice.tail))


def _stop(process: subprocess.Popen, first: signal.Signals) -> None:
    """End a process and all that it started: gently, unless told otherwise, then not."""
    for sign in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
            return
