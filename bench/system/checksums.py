"""Tell a file that is as it was written from one that is not: digests of files and JSON values."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHECKSUM = "checksum"  # key of a JSON object that holds the digest of its other keys
CHECKSUM_LENGTH = 64  # hexadecimal digits
UNCHECKED_SUFFIXES = (".yaml", ".jsonl", ".parquet", ".txt")
CHANGED = "it does not have the content that was written"


def hash_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_json(value: Any) -> str:
    """Return a JSON text with a checksum of itself, where it is an object."""
    plain = json.loads(json.dumps(value, default=str))  # as it will be read: keys are texts
    if isinstance(plain, dict):
        plain.pop(CHECKSUM, None)
        plain[CHECKSUM] = hash_json(plain)
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def parse_checked_json(text: str, required: bool = False) -> Any:
    """Return the value of a JSON text without its checksum, as `remove_checksum` does."""
    value = json.loads(text)
    remove_checksum(value, required)
    return value


def remove_checksum(value: Any, required: bool = False) -> None:
    """Remove the checksum of a JSON value. Raise ValueError where the value is not as written.

    `required`: also where it has none, as in files of earlier versions.
    """
    if required or (isinstance(value, dict) and CHECKSUM in value):
        if not isinstance(value, dict) or value.pop(CHECKSUM, "") != hash_json(value):
            raise ValueError(CHANGED)
    elif isinstance(value, dict) and any(_is_checksum(value, key) for key in value):
        raise ValueError(CHANGED)  # its name was


def _is_checksum(content: Mapping[str, Any], name: str) -> bool:
    """Return whether a value is the digest of the others."""
    value = content[name]
    if not (isinstance(value, str) and len(value) == CHECKSUM_LENGTH):
        return False
    return value == hash_json({key: one for key, one in content.items() if key != name})


def hash_files(folder: Path, further: Iterable[str] = ()) -> dict[str, str]:
    """Return the SHA-256 of the files of a folder without checksums of their own, and `further`."""
    names = {path.name for path in folder.iterdir() if path.suffix in UNCHECKED_SUFFIXES}
    paths = (folder / name for name in sorted(names.union(further)))
    return {path.name: hash_file(path) for path in paths if path.is_file()}


def file_error(folder: Path, name: str, hashes: Mapping[str, Any] | None) -> str:
    """Return that a file is not the one that `hash_files` saw; empty where it is, or not known."""
    recorded = (hashes or {}).get(name)
    try:
        return CHANGED if recorded and hash_file(folder / name) != recorded else ""
    except OSError:
        return ""  # whoever reads it says so
