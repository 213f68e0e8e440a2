"""State what a file of a record is: its name, its meaning, its keys with their types."""

from dataclasses import dataclass
from typing import Any

NONE = type(None)
UNREAD = "it cannot be read or was changed"
NUMBER = (int, float)
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "int": (int,),
    "number": NUMBER,
    "number or mapping": (int, float, dict),
    "bool": (bool,),
    "mapping": (dict,),
    "list": (list,),
}


@dataclass(frozen=True)
class Key:
    """A key of a file, by its dotted path."""

    path: str
    kind: str  # of TYPES; a trailing ? where it may be missing or null
    meaning: str
    types: tuple[type, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class RecordFile:
    """A file of a record: its name, what it is, and its keys."""

    name: str
    meaning: str
    keys: tuple[Key, ...]


def record_file(name: str, meaning: str, table: str = "") -> RecordFile:
    """Return a file from a table of its keys: `path | type | meaning`, `?` for optional ones."""
    rows = [[part.strip() for part in line.split("|")] for line in table.strip().splitlines()]
    keys = []
    for path, kind, help in rows:
        types = TYPES[kind.removesuffix("?")] + ((NONE,) if kind.endswith("?") else ())
        keys.append(Key(path, kind, help, types, tuple(path.split("."))))
    return RecordFile(name, meaning, tuple(keys))


def first_mismatch(tree: Any, file: RecordFile) -> str:
    """Return what is wrong with the content of a file; empty where it has every key as written."""
    if not isinstance(tree, dict):
        return UNREAD if tree is None else f"it is {shorten(tree)}, not a mapping"
    for key in file.keys:
        value: Any = tree
        for part in key.parts:
            value = value.get(part) if isinstance(value, dict) else None if value is None else ...
        if type(value) not in key.types:
            absent = "missing" if value is None else "not there" if value is ... else ""
            return f"{key.path} is {absent or shorten(value)}"
    return ""


def shorten(value: Any) -> str:
    return text if len(text := repr(value)) <= 40 else f"{text[:37]}…"
