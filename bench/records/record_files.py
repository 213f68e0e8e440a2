"""State what a file of a record is: its name, its meaning, its keys with their types."""

from dataclasses import dataclass

NONE = type(None)
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
