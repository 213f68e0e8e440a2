"""Write files atomically, and check rights, space and locks of the folders that they go into."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.config.errors import UserError

# errors of a folder without space, rights or locks: the user can correct them, and nothing is lost
WRITE_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR,
    errno.EIO, errno.ENOLCK,
)  # fmt: skip
PROBE_BYTES = 1 << 16
MAX_TEXT_BYTES = 1 << 28  # of a file that is read as a whole


def write_error_message(
    error: OSError, folder: Path, then: str = "the same command continues"
) -> str:
    """Return one line about a folder that cannot be written; raise any other error again."""
    if error.errno not in WRITE_ERRORS:
        raise error
    return f"{error.filename or folder} cannot be written ({error.strerror}): fix that, then {then}"


def expand_user(path: str | Path, hint: str) -> Path:
    """Return a path with `~` expanded; raise UserError, which ends in `hint`, without a home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # HOME is not set, or there is no such user
        reason = str(error).rstrip(".")
        raise UserError(f"{path} cannot be expanded ({reason}): {hint}", "missing-file") from None


def read_text(path: Path, errors: str = "strict") -> str:
    """Return a UTF-8 text; raise OSError for a pipe, a device or a huge file."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if state.st_size > MAX_TEXT_BYTES:
        raise OSError(errno.EINVAL, f"it has more than {MAX_TEXT_BYTES:,} bytes", str(path))
    return path.read_text(encoding="utf-8", errors=errors)


def check_temporary_folder() -> None:
    """Raise UserError where no folder can hold temporary files."""
    try:
        tempfile.gettempdir()
    except OSError:
        raise UserError(
            "no folder for temporary files can be written: free some space, or set TMPDIR to one",
            "not-writable",
        ) from None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` once it is on disk; on failure `path` stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every file system can; the rename is done
        fsync(path.parent)


def fsync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_stale_temp(folder: Path) -> None:
    """Remove the temporary files of processes that have ended."""
    for path in folder.glob(".*"):
        pid = path.suffix[1:]
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            with contextlib.suppress(OSError):
                path.unlink()


def check_writable(folder: Path) -> None:
    """Raise UserError where nothing can be written into a folder. Remove stale temporary files."""
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
        raise _not_writable(folder, error.strerror) from None


def check_creatable(folder: Path, needed: int) -> None:
    """Raise UserError where a folder cannot be made or lacks space, without writing anything."""
    ancestors = (folder.absolute(), *folder.absolute().parents)
    existing = next(path for path in ancestors if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        reason = "no permission" if existing.is_dir() else "not a folder"
        raise _not_writable(folder, f"{existing}: {reason}")
    check_free_space(existing, needed)


def check_file_locks(folder: Path) -> None:
    """Raise UserError where files cannot be locked: two commands could not share the folder."""
    from filelock import FileLock

    probe = folder / f".probe.{os.getpid()}"
    try:
        with warnings.catch_warnings():
            # the library would fall back to lock files that outlive their process
            warnings.simplefilter("error")
            with FileLock(probe):
                pass
    except (NotImplementedError, UserWarning, OSError) as error:
        reason = getattr(error, "strerror", "") or error
        raise _not_writable(folder, f"its file system has no file locks: {reason}") from None
    finally:
        probe.unlink(missing_ok=True)


def check_free_space(folder: Path, needed: int) -> None:
    """Raise UserError where less than `needed` bytes are free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"results={folder}: {free / 1e6:,.0f} MB are free, and the runs write up to "
            f"{needed / 1e6:,.0f} MB: free some space, or name another folder with results=…",
            "no-space",
        )


def _not_writable(folder: Path, reason: object) -> UserError:
    return UserError(
        f"results={folder} cannot be written ({reason}): name another folder with results=…",
        "not-writable",
    )
