"""Hash the files of a source, and again only those whose state on the disk changed."""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data import cache
from bench.system.files import atomic_write

# A file that changed so shortly ago may change again without another time on the disk.
SETTLED_NANOSECONDS = 2 * 10**9

Entries = dict[str, list[Any]]  # file -> its state on the disk, and its SHA-256 last


def hash_files(files: Sequence[Path], origin: str, cache_path: str) -> list[str]:
    """Return the SHA-256 of each file; raise OSError.

    Hashes are kept in the cache, by `origin`, the path that named the files: a file with the size,
    times and inode that it had before is not read again.
    """
    key = {"files of": str(Path(origin).absolute())}
    index = cache.cache_folder(cache_path, "file_hashes", key).with_suffix(".json")
    cache.check_owner(index)
    kept, now = _read_index(index), time.time_ns()
    names = [str(file.absolute()) for file in files]
    entries = {name: _entry(name, kept.get(name)) for name in names}
    settled = {
        name: entry
        for name, entry in entries.items()
        if now - max(entry[1:3]) > SETTLED_NANOSECONDS and entry[:-1] == _file_state(name)
    }
    if settled != kept:
        # where it cannot be written, the next command reads the files again
        with contextlib.suppress(OSError), atomic_write(index) as path:
            cache.write_json(path, {"files": settled})
    return [entries[name][-1] for name in names]


def _read_index(path: Path) -> Entries:
    """Return the entries that were kept; none where the index is missing or damaged."""
    entries = Entries()
    with contextlib.suppress(OSError, ValueError, KeyError):
        entries = cache.read_json(path, required=True)["files"]
    return entries


def _entry(name: str, kept: list[Any] | None) -> list[Any]:
    state = _file_state(name)
    return kept if kept and kept[:-1] == state else [*state, cache.hash_file(Path(name))]


def _file_state(name: str) -> list[int]:
    """Return size, times of modification and of change, and inode."""
    state = os.stat(name)
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
