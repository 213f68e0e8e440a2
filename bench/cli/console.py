"""Show log records of `bench` on standard error, one line each."""

import contextlib
import logging
import sys

PROGRESS = "~ "  # marks a line that the next one may replace, between a worker and its command


class ConsoleHandler(logging.Handler):
    """Print log records to whatever standard error is at that time; a closed stream is not an error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record: errors with `error: ` in front, progress with its mark."""
        prefix = "error: " if record.levelno >= logging.ERROR else ""
        prefix = PROGRESS if getattr(record, "progress", False) else prefix
        with contextlib.suppress(OSError, ValueError):
            print(prefix + record.getMessage(), file=sys.stderr, flush=True)


def setup_logging() -> None:
    """Install the handler on the logger `bench`, once."""
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(ConsoleHandler())
