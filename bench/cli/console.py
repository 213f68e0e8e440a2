"""Show log records of `bench` on standard error."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

from bench.system.processes import ESTIMATE_PREFIX, PROGRESS_PREFIX

PROGRESS_SECONDS = 10.0  # between progress lines where standard error is not a terminal
logger = logging.getLogger(__name__)
CLEAR_LINE = "\r\x1b[K"


class ConsoleHandler(logging.Handler):
    """Print a record on whatever standard error is at that time, errors with `error: ` in front.

    Progress, a record with `extra={"progress": True}`, replaces the line before on a terminal;
    elsewhere it appears every 10 s. A worker's estimate, `extra={"estimate": seconds}`, is for the
    process that runs it. A closed or full stream never fails a run.
    """

    def __init__(self, in_worker: bool = False) -> None:
        super().__init__()
        self.in_worker = in_worker  # its command reads standard error, and shows the progress
        self.shown = -PROGRESS_SECONDS  # when progress was, by time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._print(record.getMessage(), record)

    def _print(self, text: str, record: logging.LogRecord) -> None:
        terminal = sys.stderr.isatty() and not self.in_worker
        clear = CLEAR_LINE if terminal else ""
        if (estimate := getattr(record, "estimate", None)) is not None:
            if self.in_worker:
                print(f"{ESTIMATE_PREFIX}{estimate:.1f}", file=sys.stderr, flush=True)
        elif not getattr(record, "progress", False):
            prefix = "error: " if record.levelno >= logging.ERROR else ""
            print(f"{clear}{prefix}{text}", file=sys.stderr, flush=True)
        elif self.in_worker:
            print(f"{PROGRESS_PREFIX}{text}", file=sys.stderr, flush=True)
        elif terminal:
            print(f"{clear}{text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.shown >= PROGRESS_SECONDS:
            self.shown = time.monotonic()
            print(text, file=sys.stderr, flush=True)


def setup_logging(in_worker: bool = False) -> None:
    """Install the handler on the logger `bench`, once a process."""
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(ConsoleHandler(in_worker))


class TolerantOutput:
    """Write to standard output for as long as somebody reads it: its end is no error of a run.

    A closed pipe ends it without a word; any other error, such as a full disk, is logged once.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text as far as that is possible."""
        with self._tolerate():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written as far as that is possible."""
        with self._tolerate():
            self.stream.flush()

    @contextlib.contextmanager
    def _tolerate(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: it was closed
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                logger.warning("standard output cannot be written (%s)", error.strerror)
            ended = self.stream
            self.stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (to the end)
            with contextlib.suppress(OSError, ValueError):  # what it still holds goes there, too
                os.dup2(self.stream.fileno(), ended.fileno())


def _open_standard_streams() -> None:
    """Open what the command was started without, so that no other file takes its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


@contextlib.contextmanager
def tolerant_output() -> Iterator[None]:
    """Print, within this context, to a standard output that may be closed, full or not UTF-8."""
    _open_standard_streams()
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    output = TolerantOutput(sys.stdout)
    with contextlib.redirect_stdout(output):
        try:
            yield
        finally:
            output.flush()
