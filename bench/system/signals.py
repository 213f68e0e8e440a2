"""Stop cleanly: signals, and a lock that a command holds for as long as it lives."""

import contextlib
import json
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

# environment variable: machine and folder of the command that a process works for
COMMAND_VARIABLE = "BENCH_COMMAND"
LOCAL_PREFIX = "bench-here-"  # of the temporary folder of a command that trains on this machine
POLL_SECONDS = 0.5  # between checks whether the command and the parent are alive
GRACE_SECONDS = 60.0  # to save in, after which a worker that was asked to stop is ended
EXIT_STOPPED = 3  # exit code of a worker that stopped when asked to
TERMINATION_SIGNALS = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
# by these a batch system announces that a job's time is nearly up
TIME_LIMIT_SIGNALS = [getattr(signal, n) for n in ("SIGUSR1", "SIGUSR2") if hasattr(signal, n)]


class Terminated(KeyboardInterrupt):
    """End the command by a signal other than Ctrl-C: preemption, or a closed terminal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequested(BaseException):
    """Stop a worker; what it trained is in its checkpoint."""


# --- the command ---


class CommandLock:
    """Tell the workers of a command that it is alive, and collect what they defer to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alive = FileLock(folder / "alive")  # the system releases it however the command ends

    def stop_workers(self) -> None:
        """Have every worker of the command save and stop."""
        self.alive.release(force=True)

    def deferred(self) -> list[Any]:
        """Return what workers passed to `defer`, in order of time."""
        paths = sorted(self.folder.glob("left-*"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


@contextlib.contextmanager
def hold_command_lock(elsewhere: bool = False) -> Iterator[CommandLock]:
    """Hold the lock of this command; its workers save and stop when it is released.

    `elsewhere`: the workers run on other machines.
    """
    prefix = "bench-elsewhere-" if elsewhere else LOCAL_PREFIX
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        command = CommandLock(Path(folder))
        with command.alive:
            os.environ[COMMAND_VARIABLE] = json.dumps([platform.node(), folder])
            try:
                yield command
            finally:
                del os.environ[COMMAND_VARIABLE]


def count_other_commands() -> int:
    """Return how many other commands train on this machine, of those that are visible."""
    locks = Path(tempfile.gettempdir()).glob(f"{LOCAL_PREFIX}*/alive")
    own = _command_folder()
    return sum(_is_locked(path, on_error=False) for path in locks if path.parent != own)


def _is_locked(path: Path, on_error: bool) -> bool:
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return on_error


@contextlib.contextmanager
def handle_signals(
    handler: Callable[[int, FrameType | None], Any], numbers: Iterable[int]
) -> Iterator[None]:
    """Handle signals within this context; those that were ignored (nohup) stay ignored."""
    previous = {number: signal.getsignal(number) for number in numbers}
    active = {n: before for n, before in previous.items() if before is not signal.SIG_IGN}
    for number in active:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in active.items():
            signal.signal(number, before)


def raise_terminated(number: int, _: FrameType | None) -> None:
    """Raise Terminated; ignore further signals, so that they do not interrupt the saving."""
    for each in TERMINATION_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)


# --- its workers ---


def _command_folder() -> Path | None:
    """Return the folder of the command that this process works for, if it runs on this machine."""
    machine, folder = json.loads(os.environ.get(COMMAND_VARIABLE, '["", ""]'))
    return Path(folder) if folder and machine == platform.node() else None


def command_ended() -> bool:
    """Tell whether the command of this worker has ended or released its lock, where visible."""
    folder = _command_folder()
    if folder is None:
        return False
    if not (folder / "alive").exists():
        return True
    return not _is_locked(folder / "alive", on_error=folder.exists())


def defer(name: str, value: Any) -> bool:
    """Pass a JSON-able value to the end of the command; return False where it is out of reach."""
    folder = _command_folder()
    if folder is None or not folder.exists():
        return False
    (folder / f"left-{name}").write_text(json.dumps(value), encoding="utf-8")
    return True


def _watch(has_ended: Callable[[], bool], act: Callable[[], None]) -> None:
    """Call `act` in a thread of its own once `has_ended` is true."""

    def poll() -> None:
        while not has_ended():
            time.sleep(POLL_SECONDS)
        act()

    Thread(target=poll, daemon=True).start()


@cache
def exit_with_parent(parent: int | None = None) -> None:
    """End this process when its parent ends: workers of a killed pool would wait forever."""
    pid = parent or os.getppid()
    _watch(lambda: os.getppid() != pid, lambda: os._exit(EXIT_STOPPED))


_received: list[int] = []  # stop signals that this process received
_deferring: list[bool] = []  # not empty: the training loop polls stop_requested()


def _on_stop_signal(number: int, _: FrameType | None) -> None:
    _received.append(number)
    if not _deferring:
        raise StopRequested


def stop_requested() -> bool:
    """Tell whether this process was asked to stop."""
    return bool(_received)


@contextlib.contextmanager
def defer_stop() -> Iterator[None]:
    """Raise StopRequested at the end of this context instead of at once."""
    _deferring.append(True)
    try:
        yield
    finally:
        _deferring.pop()
    if _received:
        raise StopRequested


def ignore_stop() -> None:
    """Ignore requests to stop from now on: this process is ending anyway."""
    _deferring.append(True)


def install_stop_handlers() -> None:
    """Stop this worker on SIGTERM, near the end of its job, and when its command or parent ends.

    A worker that does not stop within GRACE_SECONDS is ended.
    """
    for number in (signal.SIGTERM, *TIME_LIMIT_SIGNALS):
        signal.signal(number, _on_stop_signal)
    parent = os.getppid()

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(EXIT_STOPPED)

    _watch(lambda: command_ended() or os.getppid() != parent, stop)
