"""Keep folders of prepared data: named by their inputs, verified on opening, built only once."""

import hashlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from bench.config.errors import UserError
from bench.system.checksums import checked_json, hash_json, parse_checked_json
from bench.system.checksums import hash_file as hash_file
from bench.system.files import WRITE_ERRORS, atomic_write, expand_user

logger = logging.getLogger(__name__)
MANIFEST = "manifest.json"
MAX_HASHED_BYTES = 256 << 20  # of larger files only the size is compared on opening
CACHE_HINT = "name another folder with data.cache=… or BENCH_CACHE"
SHARED_MODE = 0o775  # of new folders, further limited by the umask


def cache_root(path: str) -> Path:
    """Return the cache folder: `path`, else $BENCH_CACHE, else the user's; raise UserError."""
    named = path or os.environ.get("BENCH_CACHE")
    folder = expand_user(named or _user_cache(), CACHE_HINT)
    try:  # a named one may be shared; none is for everyone to write
        folder.mkdir(mode=SHARED_MODE if named else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error.strerror) from None
    return folder


def _user_cache() -> str:
    import platformdirs

    try:
        return platformdirs.user_cache_dir("architecture-bench", appauthor=False)
    except RuntimeError:  # there is no home
        return "~/.cache"


def cache_folder(path: str, name: str, key: dict[str, Any]) -> Path:
    """Return the folder for what `key` describes; `name` makes it readable."""
    readable = re.sub(r"[^\w-]", "_", name)
    return cache_root(path) / f"{readable}-{hash_json(key)[:16]}"


def _not_writable(root: Path, reason: str | None) -> UserError:
    return UserError(f"the cache {root} cannot be written ({reason}): {CACHE_HINT}", "not-writable")


def check_owner(folder: Path) -> None:
    """Raise UserError for a folder that another user may have put where everyone can write."""
    if not hasattr(os, "geteuid") or not os.path.lexists(folder):
        return
    state, root = folder.lstat(), folder.parent.stat()
    if root.st_mode & stat.S_IWOTH and state.st_uid != os.geteuid():
        raise UserError(
            f"{folder} belongs to another user, in a folder that everyone can write: {CACHE_HINT}",
            "not-writable",
        )


@contextmanager
def build_once(folder: Path) -> Iterator[bool]:
    """Yield whether the caller has to fill the folder, then empty; other processes wait for it."""
    check_owner(folder)
    if not find_defect(folder):
        yield False
        return
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            defect = find_defect(folder)  # another process may have built it meanwhile
            if not defect:
                yield False
                return
            if (folder / MANIFEST).exists():
                logger.warning("the cache %s is damaged (%s): building it again", folder, defect)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=SHARED_MODE)
            try:
                yield True
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except NotImplementedError:  # raised by FileLock
        raise _not_writable(folder.parent, "the file system has no file locks") from None
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise _not_writable(folder.parent, error.strerror) from None


def find_defect(folder: Path) -> str:
    """Return why a folder cannot be used, or an empty string."""
    try:
        for name, entry in read_manifest(folder)["files"].items():
            size = (folder / name).stat().st_size
            if size != entry["size"]:
                return f"{name} has {size} bytes, not {entry['size']}"
            if size <= MAX_HASHED_BYTES and hash_file(folder / name) != entry["sha256"]:
                return f"{name} does not have the bytes that were written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def write_manifest(folder: Path, content: dict[str, Any], digests: dict[str, str]) -> None:
    """Write, by rename, the manifest of the files in the folder; `digests` of some are given."""
    files = {}
    for file in folder.iterdir():
        if not file.name.startswith("."):
            digest = digests.get(file.name) or hash_file(file)
            files[file.name] = {"size": file.stat().st_size, "sha256": digest}
    with atomic_write(folder / MANIFEST) as path:
        write_json(path, content | {"files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    return read_json(folder / MANIFEST, required=True)


def combine_digests(digests: list[str]) -> str:
    """Return sixteen hexadecimal digits over several digests."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def fsync(file: IO[Any]) -> None:
    """Force a file to the disk: some file systems report only then that they are full."""
    file.flush()
    os.fsync(file.fileno())


def write_bytes(path: Path, *contents: bytes) -> None:
    """Write a file and force it to the disk."""
    with open(path, "wb") as file:
        file.writelines(contents)
        fsync(file)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with a checksum of itself."""
    write_bytes(path, checked_json(content).encode())


def read_json(path: Path, required: bool = False) -> dict[str, Any]:
    """Return what `write_json` wrote; raise OSError or ValueError for anything else.

    `required`: also for a file without a checksum, as earlier versions wrote.
    """
    content: dict[str, Any] = parse_checked_json(path.read_text(encoding="utf-8"), required)
    return content
