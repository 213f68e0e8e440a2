"""Log records on standard error: in place on a terminal, rarely elsewhere, never a failure."""

import io
import logging
import sys

import pytest

from bench.cli import console
from bench.cli.console import ConsoleHandler

PROGRESS = {"progress": True}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def log(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, in_worker: bool = False) -> None:
    """Log two lines of progress, an ordinary line and an error."""
    monkeypatch.setattr(sys, "stderr", stream)
    logger = logging.Logger("bench.test", logging.INFO)
    logger.addHandler(ConsoleHandler(in_worker))
    logger.info("1/2", extra=PROGRESS)
    logger.info("2/2", extra=PROGRESS)
    logger.info("done")
    logger.error("wrong")


def test_a_terminal_shows_progress_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    log(monkeypatch, stream := Terminal())
    clear = console.CLEAR_LINE
    lines = f"{clear}1/2{clear}2/2{clear}done\n{clear}error: wrong\n"
    assert stream.getvalue() == lines


def test_a_file_gets_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log(monkeypatch, stream := io.StringIO())
    assert stream.getvalue() == "1/2\ndone\nerror: wrong\n"


def test_a_worker_marks_progress_for_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    log(monkeypatch, stream := Terminal(), in_worker=True)
    assert stream.getvalue() == "~ 1/2\n~ 2/2\ndone\nerror: wrong\n"


def test_a_full_or_closed_stream_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log(monkeypatch, Full())
    closed = io.StringIO()
    closed.close()
    log(monkeypatch, closed)
