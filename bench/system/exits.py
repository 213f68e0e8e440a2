"""Keep an architecture's code from ending the process that runs it, or from passing for Ctrl-C."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn


class ForcedExit(SystemExit):
    """Stand for a call of os._exit, which would end a command with that code and no word."""


class RaisedInterrupt(RuntimeError):
    """Stand for a KeyboardInterrupt that nobody's Ctrl-C caused."""


@contextlib.contextmanager
def refuse_exits() -> Iterator[None]:
    """Raise ForcedExit where the main thread calls os._exit; a forked child may still do so."""
    exit_now, process = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process or current_thread() is not main_thread():
            exit_now(status)
        raise ForcedExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = exit_now


def end_process(code: int) -> NoReturn:
    """End this process, whatever threads an architecture has left: Python would wait for them."""
    left = [one for one in threading.enumerate() if not one.daemon and one is not current_thread()]
    if left:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def contain_plugin() -> Iterator[None]:
    """Raise ForcedExit for os._exit, and RaisedInterrupt for a KeyboardInterrupt without a signal.

    Where another handler than Python's own acts on SIGINT, each KeyboardInterrupt is passed on.
    """
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    watched = own and current_thread() is main_thread()
    if watched:
        signal.signal(signal.SIGINT, interrupt)
    try:
        with refuse_exits():
            yield
    except KeyboardInterrupt as error:
        if type(error) is KeyboardInterrupt and watched and not received:
            raise RaisedInterrupt("KeyboardInterrupt, without Ctrl-C") from error
        raise
    finally:
        if watched:
            signal.signal(signal.SIGINT, signal.default_int_handler)
