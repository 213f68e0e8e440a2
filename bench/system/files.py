"""Files written whole or not at all, and the folder that they go into: rights, room and locks. Imports no torch."""

import contextlib
import errno
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from bench.config.errors import UserError

# what a system says of a folder without room or rights: whoever started the command can mend it, and lost nothing
WRITE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EIO,
)
PROBE_BYTES = 1 << 16  # bytes


def write_error_message(
    error: OSError, folder: Path, then: str = "the same command goes on"
) -> str:
    """One line about a folder without room or rights; an error of any other kind is raised again."""
    if error.errno not in WRITE_ERRORS:
        raise error
    return (
        f"{error.filename or folder} can not be written ({error.strerror}): mend that, and {then}"
    )


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A neighbour to write into, which becomes `path` once it is on the disk; where that fails `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield neighbour
        fsync(neighbour)
        os.replace(neighbour, path)
    except BaseException:
        with contextlib.suppress(OSError):
            neighbour.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some file systems do not take it; the rename is done
        fsync(path.parent)


def fsync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before anything says that it is there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """Raise UserError where nothing can be written into a folder. What killed processes left half-written there goes."""
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale_temp(folder)
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
            fsync(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"results={folder} can not be written ({error.strerror}): name another folder with results=…"
        ) from None


def check_creatable(folder: Path, needed: int) -> None:
    """Raise UserError where a folder plainly can not be made, or has no room: what can be known of it without writing."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "no folder" if not there.is_dir() else "no right to"
        raise UserError(
            f"results={folder} can not be written ({there}: {why}): name another folder with results=…"
        )
    check_free_space(there, needed)


def check_file_locks(folder: Path) -> None:
    """Raise UserError where files can not be locked: two commands could not share the folder."""
    from filelock import FileLock

    probe = folder / f".probe.{os.getpid()}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # the library would go on with files that outlive who made them
            with FileLock(probe):
                pass
    except (NotImplementedError, UserWarning, OSError) as error:
        why = getattr(error, "strerror", "") or error
        raise UserError(
            f"results={folder}: its file system has no file locks ({why}): name another folder with results=…"
        ) from None
    finally:
        probe.unlink(missing_ok=True)


def check_free_space(folder: Path, needed: int) -> None:
    """Raise UserError where less than `needed` bytes are free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        short = f"{free / 1e6:,.0f} MB are free and the runs write up to {needed / 1e6:,.0f} MB"
        raise UserError(
            f"results={folder}: {short}: free some space, or name another folder with results=…"
        )


def remove_stale_temp(folder: Path) -> None:
    """Remove what a process that is gone left half-written."""
    for path in folder.glob(".*"):
        number = path.suffix[1:]
        if number.isdigit() and not _is_alive(int(number)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return process != os.getpid()
