"""Show log records of `bench` on standard error."""

import contextlib
import logging
import sys
import time

from bench.system.processes import PROGRESS_PREFIX

PROGRESS_SECONDS = 10.0  # between progress lines where standard error is not a terminal
CLEAR_LINE = "\r\x1b[K"


class ConsoleHandler(logging.Handler):
    """Print a record on whatever standard error is at that time, errors with `error: ` in front.

    Progress, a record with `extra={"progress": True}`, replaces the line before on a terminal;
    elsewhere it appears every 10 s. A closed or full stream never fails a run.
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
        if not getattr(record, "progress", False):
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
