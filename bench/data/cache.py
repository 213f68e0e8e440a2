"""Folders of prepared data: named by what they were made from, checked on opening, made again when broken, made once by many."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from bench.config.errors import UserError

MANIFEST = "manifest.json"
MAX_HASHED_BYTES = (
    256 << 20
)  # files up to this size are hashed on opening, of larger ones only the size is compared
READ_BYTES = 1 << 22
WRITE_ERRNOS = (  # what a system says of a folder without room, rights or locks
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO, errno.ENOLCK,
)  # fmt: skip


def cache_root(asked: str) -> Path:
    """The cache's folder: as asked, or of the environment, or the user's. Raises UserError where it can not be made."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "architecture-bench"
    folder = Path(asked or os.environ.get("BENCH_CACHE") or user).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(unwritable_message(folder, error)) from None
    return folder


def cache_folder(asked: str, name: str, key: dict[str, Any]) -> Path:
    """The folder of a key. Raises UserError where no folder can be made."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    readable = "".join(
        character if character.isalnum() or character in "_-" else "_" for character in name
    )
    return cache_root(asked) / f"{readable}-{digest}"


def unwritable_message(root: Path, error: OSError) -> str:
    return f"the cache {root} can not be written ({error.strerror}): name another folder with data.cache=… or BENCH_CACHE"


@contextmanager
def build_once(folder: Path, progress: Callable[[str], None]) -> Iterator[bool]:
    """Yields whether the caller has to fill the folder, which is then empty. Of several processes one builds, the others wait."""
    if not find_defect(folder):
        yield False
        return
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            reason = find_defect(folder)  # another process may have built it meanwhile
            if not reason:
                yield False
                return
            if (folder / MANIFEST).exists():
                progress(f"the cache {folder} is broken ({reason}): making it again")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            try:
                yield True
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except NotImplementedError:  # what the locks say of a file system that has none
        raise UserError(
            unwritable_message(folder.parent, OSError(errno.ENOLCK, "it has no file locks"))
        ) from None
    except OSError as error:
        if error.errno not in WRITE_ERRNOS:
            raise
        raise UserError(unwritable_message(folder.parent, error)) from None


def find_defect(folder: Path) -> str:
    """Why a folder can not be used; empty where it can."""
    try:
        files = read_manifest(folder)["files"]
        for name, entry in files.items():
            file = folder / name
            if file.stat().st_size != entry["size"]:
                return f"{name} has {file.stat().st_size} bytes, not {entry['size']}"
            if entry["size"] <= MAX_HASHED_BYTES and hash_file(file) != entry["sha256"]:
                return f"{name} does not have the bytes that were written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def write_manifest(folder: Path, content: dict[str, Any], known: dict[str, str]) -> None:
    """Write the manifest, by rename, over the files that now lie in the folder; of some the digest is known."""
    names = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    digests = {name: known.get(name) or hash_file(folder / name) for name in names}
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": digests[name]} for name in names
    }
    neighbour = folder / f".{MANIFEST}"
    write_json(neighbour, content | {"files": files})
    os.replace(neighbour, folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    return read_json(folder / MANIFEST)


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def combine_digests(digests: list[str]) -> str:
    """Sixteen hexadecimal digits over several digests."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def fsync(file: IO[Any]) -> None:
    """Have a file on the disk before anything says that it is there: some file systems find only now that they are full."""
    file.flush()
    os.fsync(file.fileno())


def write_json(path: Path, value: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        fsync(file)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
