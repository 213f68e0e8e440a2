"""Lock what all commands of a user share on one machine, in a folder that nobody else can write."""

import contextlib
import json
import os
import platform
import re
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.errors import UserError

if TYPE_CHECKING:
    from filelock import FileLock

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def lock_folder() -> Path:
    """Return the user's folder of locks. Raise UserError where others own it or can write it."""
    folder = _user_folder() / "locks"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        state = folder.lstat()
    except OSError as error:
        raise _unusable(folder, str(error.strerror)) from None
    if not stat.S_ISDIR(state.st_mode):
        raise _unusable(folder, "it is not a folder")
    if hasattr(os, "geteuid") and state.st_uid != os.geteuid():
        raise _unusable(folder, "it belongs to another user")
    if state.st_mode & OTHERS_WRITE:
        raise _unusable(folder, "other users can write into it")
    return folder


def _user_folder() -> Path:
    import platformdirs

    try:
        return platformdirs.user_cache_path("architecture-bench", appauthor=False)
    except RuntimeError:  # there is no home
        return Path(tempfile.gettempdir()) / f"architecture-bench-{os.geteuid()}"


def _unusable(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder} cannot hold locks ({reason}): remove it, or set XDG_CACHE_HOME to a folder of "
        "your own",
        "not-writable",
    )


def machine_lock(name: str) -> "FileLock":
    """Return the user's lock of that name on this machine: homes are shared by several."""
    from filelock import FileLock

    file = re.sub(r"[^\w.-]", "_", f"{platform.node()}-{name}.lock")
    return FileLock(lock_folder() / file, mode=0o600)


def write_holder(lock: "FileLock") -> None:
    """Say beside a lock that this process holds it, from now on."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:100]
    content = {"process": os.getpid(), "command": command, "since": time.strftime("%d %b %H:%M")}
    with contextlib.suppress(OSError):
        _holder_file(lock).write_text(json.dumps(content), encoding="utf-8")


def describe_holder(lock: "FileLock") -> str:
    """Return in words who holds a lock, and since when."""
    try:
        holder = json.loads(_holder_file(lock).read_text(encoding="utf-8"))
        return f"process {holder['process']} ({holder['command']}), since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not given its number yet"


def _holder_file(lock: "FileLock") -> Path:
    return Path(lock.lock_file).with_suffix(".holder")
