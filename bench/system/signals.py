"""Being asked to stop: signals, and a lock that a command holds for as long as it lives. Imports no torch."""

import contextlib
import json
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

COMMAND_VARIABLE = (
    "BENCH_COMMAND"  # names the machine and the folder of the command that a process works for
)
LOCAL_PREFIX = "bench-here-"  # what the folder of a command that trains on this machine is called, in the system's temporary folder
POLL_SECONDS = 0.5  # between two looks at whether the command still lives
GRACE_SECONDS = 60.0  # seconds to save in, after which a process that nobody waits for is ended
EXIT_STOPPED = 3  # exit code of a process that was asked to stop and did
TERMINATION_SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]

TIME_LIMIT_SIGNALS = [
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]


class Terminated(KeyboardInterrupt):
    """The command was asked to end by a signal other than Ctrl-C: preemption, or a terminal that was closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequested(BaseException):
    """A process that trains was asked to end; what it trained lies in its checkpoint."""


# --- the command ------------------------------------------------------------------------------------------------------


class CommandLock:
    """What the processes of a command look at to know that it lives, and where they leave it what it has to come back to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.life = FileLock(folder / "alive")  # the system lets go of it however the command ends

    def stop_workers(self) -> None:
        """Have every process of the command save what it has and stop."""
        self.life.release(force=True)

    def deferred(self) -> list[Any]:
        """What was left with `leave`, the first first."""
        paths = sorted(self.folder.glob("left-*"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


@contextlib.contextmanager
def hold_command_lock(elsewhere: bool = False) -> Iterator[CommandLock]:
    """While this lasts the command is there; when it ends, however it ends, whoever trains for it saves and stops.

    `elsewhere`: it trains on other machines.
    """
    with tempfile.TemporaryDirectory(
        prefix="bench-elsewhere-" if elsewhere else LOCAL_PREFIX
    ) as place:
        command = CommandLock(Path(place))
        with command.life:
            os.environ[COMMAND_VARIABLE] = json.dumps([platform.node(), place])
            try:
                yield command
            finally:
                del os.environ[COMMAND_VARIABLE]


def count_other_commands() -> int:
    """How many other commands train on this machine now, of those that may be seen."""
    return sum(
        _is_locked(path)
        for path in Path(tempfile.gettempdir()).glob(f"{LOCAL_PREFIX}*/alive")
        if path.parent != _command_folder()
    )


def _is_locked(path: Path) -> bool:
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def handle_signals(
    hear: Callable[[int, FrameType | None], Any], numbers: list[signal.Signals]
) -> Iterator[None]:
    """Hear signals for a while; one that whoever started this process had it ignore (nohup) stays ignored."""
    before = {number: signal.getsignal(number) for number in numbers}
    heard = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


def raise_terminated(number: int, _: FrameType | None) -> None:
    """End the command as Ctrl-C does, once: a second signal of the kind does not disturb the saving."""
    for each in TERMINATION_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)


# --- the processes that work for it -----------------------------------------------------------------------------------


def _command_folder() -> Path | None:
    """The folder of the command that this process works for, where that runs on this machine."""
    machine, place = json.loads(os.environ.get(COMMAND_VARIABLE, '["", ""]'))
    return Path(place) if place and machine == platform.node() else None


def command_ended() -> bool:
    """Whether the command that this process works for has ended, or asked its processes to. False on another machine."""
    place = _command_folder()
    if place is None:
        return False
    try:
        if not (place / "alive").exists():
            return True
        with FileLock(place / "alive", blocking=False):
            return True
    except Timeout:
        return False
    except OSError:
        return not place.exists()


def defer(name: str, what: Any) -> bool:
    """Leave something for the command to come back to at its end; False where it can not be reached."""
    place = _command_folder()
    if place is None or not place.exists():
        return False
    (place / f"left-{name}").write_text(json.dumps(what), encoding="utf-8")
    return True


@cache
def exit_with_parent() -> None:
    """From now on this process, one of a launcher's pool, ends with whoever started it: where that is killed, pools wait on."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(EXIT_STOPPED)

    Thread(target=look, daemon=True).start()


_received: list[int] = []  # signals heard by this process
_deferring: list[bool] = []  # not empty: whoever trains looks at asked() when it can save


def _on_stop_signal(number: int, _: FrameType | None) -> None:
    _received.append(number)
    if not _deferring:
        raise StopRequested


def stop_requested() -> bool:
    """Whether this process was asked to stop."""
    return bool(_received)


@contextlib.contextmanager
def defer_stop() -> Iterator[None]:
    """Here a request to stop waits until it is looked at, or for the end of this; elsewhere it raises Stopped at once."""
    _deferring.append(True)
    try:
        yield
    finally:
        _deferring.pop()
    if _received:
        raise StopRequested


def ignore_stop() -> None:
    """From now on a request to stop is no news: this process ends as it is, and what Python does at its end is not disturbed."""
    _deferring.append(True)


def install_stop_handlers() -> None:
    """From now on SIGTERM asks this process to stop, and so does the end of its command or of the process that started it.

    So do the signals by which a batch system says to every process of a job that its time is nearly up.
    """
    for number in (signal.SIGTERM, *TIME_LIMIT_SIGNALS):
        signal.signal(number, _on_stop_signal)
    parent = os.getppid()

    def look() -> None:
        while not (command_ended() or os.getppid() != parent):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(EXIT_STOPPED)  # it hangs

    Thread(target=look, daemon=True).start()
