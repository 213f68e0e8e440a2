"""Declare configuration fields: default, help, allowed values, whether they count for identity."""

from collections.abc import Iterator
from dataclasses import Field, field, fields, is_dataclass
from typing import Any

LATER = "later"  # counts for identity only where it differs from its default: older records lack it
Span = tuple[float, float]  # lowest and highest allowed value


def option(default: Any, text: str, within: Span | None = None, identity: Any = True) -> Any:
    """Declare a field with one line of help; `within` limits a number, or each number of a list.

    `identity` is False for what does not change the weights, and LATER for fields that records of
    earlier versions lack.
    """
    metadata = {"help": text, "within": within, "choices": (), "identity": identity}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def setting(default: Any, text: str, within: Span | None = None) -> Any:
    """Declare a field that does not change the weights."""
    return option(default, text, within, identity=False)


def choice(words: str, text: str, identity: Any = True) -> Any:
    """Declare a field that takes one of some words, the first by default."""
    choices = tuple(words.split())
    metadata = {"help": text, "within": None, "choices": choices, "identity": identity}
    return field(default=choices[0], metadata=metadata)


def walk_fields(kind: type, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Yield the dotted key and the field of every option of a dataclass and of those within it."""
    for each in fields(kind):
        if isinstance(each.type, type) and is_dataclass(each.type):
            yield from walk_fields(each.type, f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, each
