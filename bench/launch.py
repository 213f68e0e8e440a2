"""A fresh process for each run: a death becomes a line to record, and takes nothing else down."""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from threading import Thread
from typing import IO, NamedTuple

from bench.machine import process_environment


class End(NamedTuple):
    """How a process ended: its exit code, and why, where it did not end by itself."""

    code: int
    reason: str = ""


def _forward(stream: IO[str], tail: deque[str]) -> None:
    """Pass a process's lines on as they come, and keep the last ones: they tell why it died."""
    for line in stream:
        tail.append(line.rstrip())
        sys.stderr.write(line)
        sys.stderr.flush()


def _why(code: int, tail: Sequence[str]) -> str:
    last = next((line for line in reversed(tail) if line.strip()), "")
    if code == -signal.SIGKILL:
        return "killed (SIGKILL): most often the system ran out of memory"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" + (f": {last}" if last else "")
    return f"ended with exit code {code}" + (f": {last}" if last else "")


def alone(module: str, arguments: Sequence[str], threads: int, limit_seconds: float = 0.0) -> End:
    """Run `python -m module arguments` in a process of its own and wait for it.

    An exit code of 0 to 3 is the module's own word; anything else is a death, with its reason. Past `limit_seconds`
    (0: no limit) the process is ended. Ctrl-C is passed on, and raised again once the process has stopped.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.PIPE, text=True, errors="replace", env=process_environment(threads), start_new_session=True,
    )  # fmt: skip
    tail: deque[str] = deque(maxlen=30)
    assert process.stderr is not None
    reader = Thread(target=_forward, args=(process.stderr, tail), daemon=True)
    reader.start()
    try:
        code = process.wait(limit_seconds or None)
    except subprocess.TimeoutExpired:
        _stop(process, signal.SIGKILL)
        return End(124, f"took longer than train.limit_seconds={limit_seconds:g} and was ended")
    except BaseException:
        _stop(process, signal.SIGTERM)
        raise
    reader.join(timeout=5)
    return End(code) if 0 <= code <= 3 else End(code, _why(code, tail))


def _stop(process: subprocess.Popen, first: signal.Signals) -> None:
    """End a process and all that it started, gently first unless told otherwise."""
    for sign in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        try:
            process.wait(20)
            return
        except subprocess.TimeoutExpired:
            continue
