"""Read the user's own text: a file, a folder or a glob."""

import glob
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data.file_hashes import hash_files
from bench.data.sources.base import Source, TextChunk
from bench.data.sources.readers import ROW_READERS, read_plain
from bench.system.files import expand_user

COMPRESSED = ".gz"
TEXT_SUFFIXES = (".txt", ".md")  # one document per file
SUFFIXES = (*TEXT_SUFFIXES, *ROW_READERS)  # any but .parquet also compressed


class FileSource(Source, name="text"):
    """Texts in files: each .txt or .md file is a document, as is each row of the other kinds."""

    def __init__(self, options: DataConfig) -> None:
        self.path, self.column, self.cache = options.path, options.column, options.cache
        self.files = find_files(self.path)
        self.rows = any(file_kind(file) in ROW_READERS for file in self.files)
        self.single = len(self.files) == 1 and not self.rows
        if not any(file.stat().st_size for file in self.files):
            raise UserError(
                f"data.path={self.path} is empty (0 bytes): there is nothing to learn from",
                "too-little-text",
            )

    def fingerprint(self) -> Any:
        try:
            hashes = hash_files(self.files, self.path, self.cache)
        except OSError as error:
            raise _unreadable(error.filename, error) from None
        kinds = [file_kind(file) + COMPRESSED * is_compressed(file) for file in self.files]
        files = [list(pair) for pair in zip(kinds, hashes, strict=True)]
        return {"files": files, "column": self.column if self.rows else ""}

    def facts(self) -> dict[str, Any]:
        return {"source": "text", "path": self.path, "files": len(self.files)}

    def chunks(self) -> Iterator[TextChunk]:
        for file in self.files:
            reader = ROW_READERS.get(file_kind(file))
            try:
                yield from reader(file, self.column) if reader else read_plain(file)
            except OSError as error:
                raise _unreadable(file, error) from None


def is_compressed(file: Path) -> bool:
    return file.suffix.lower() == COMPRESSED


def file_kind(file: Path) -> str:
    """Return the suffix that says how a file is read, in lower case, without that of gzip."""
    return (Path(file.stem) if is_compressed(file) else file).suffix.lower()


def find_files(path: str) -> list[Path]:
    """Return the files that `data.path` names, sorted; raise UserError where there are none.

    Links are followed; a folder that several links lead to is read once.
    """
    if not path:
        raise UserError(
            "data.path is empty: name a file, a folder or a glob, as in data.path=my_text.txt",
            "missing-file",
        )
    root, kinds = expand_user(path, "name an existing file in data.path"), ", ".join(SUFFIXES)
    missing = f"does not exist: name a file, a folder or a quoted glob ({kinds})"
    if root.is_dir():
        files = [file for file in _walk(root) if file_kind(file) in SUFFIXES]
        missing = f"is a folder without any {kinds} file: put texts there, or name another folder"
    elif root.exists():
        files, missing = [root], "is not a regular file: save the text in one, and name that"
    else:
        files = _expand_glob(str(root))
    files = sorted({file for file in files if file.is_file()})
    if not files:
        raise UserError(f"data.path={path} {missing}", "missing-file")
    return files


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files below a folder, without hidden ones; raise UserError for a closed folder."""
    visited = set[tuple[int, int]]()
    for folder, folders, names in os.walk(root, onerror=_raise_unreadable, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in visited:
            folders.clear()
            continue
        visited.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _expand_glob(pattern: str) -> list[Path]:
    """Return what a glob matches; `**` stands for any folders, each visited once."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return [Path(name) for name in glob.glob(pattern)]
    first = parts.index("**")
    roots = [Path(name) for name in glob.glob(str(Path(*parts[:first])))]
    files = ((root, file) for root in roots for file in _walk(root))
    return [f for root, f in files if _matches(f.relative_to(root).parts, parts[first:])]


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Tell whether the parts of a path match those of a glob."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_matches(names[start:], patterns[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def _raise_unreadable(error: OSError) -> None:
    raise _unreadable(error.filename, error)


def _unreadable(file: object, error: OSError) -> UserError:
    return UserError(
        f"{file} cannot be read ({error.strerror or error}): correct its permissions, or leave it "
        "out of data.path",
        "unreadable-file",
    )
