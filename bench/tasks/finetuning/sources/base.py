"""Define what a source of examples offers."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data.registry import Registered, member

SPLIT = ""  # the part of examples that are still to be split
HELD_OUT_BUCKETS = {8: "validation", 9: "test"}  # of ten; the others are for training


class Example(NamedTuple):
    """An input with its label or its answer."""

    text: str
    target: str
    group: str = ""  # examples of one group are in one part and one subset; empty: its own text

    @property
    def key(self) -> str:
        """Return what sorts and splits examples: neither order in a file nor chance does."""
        return hashlib.sha256((self.group or self.text).encode()).hexdigest()


class ExampleSource(Registered, ABC):
    """A source of examples; `class Mine(ExampleSource, name="mine")` is `task.source=mine`.

    Making one checks what is cheap to check and raises UserError, as `examples` does while reading.
    """

    shortcut: ClassVar[str] = ""  # in words; empty: it has none

    @abstractmethod
    def __init__(self, options: TaskConfig, cache: str) -> None: ...

    @abstractmethod
    def fingerprint(self) -> Any:
        """Return a JSON value that changes with the examples."""

    @abstractmethod
    def examples(self) -> Iterator[tuple[str, Example]]:
        """Yield each example with its part: train, validation or test, or SPLIT."""

    @staticmethod
    def shortcut_answer(text: str) -> str:
        """Return what solves the task without understanding it, where `shortcut` names that."""
        raise NotImplementedError


def open_examples(options: TaskConfig, cache: str) -> ExampleSource:
    """Return the source that `task.source` names. Raise UserError."""
    source: type[ExampleSource] = member(ExampleSource, __package__, "task.source", options.source)
    return source(options, cache)


def part_of(example: Example) -> str:
    """Return the part of an example that comes without one: eight tenths are for training."""
    return HELD_OUT_BUCKETS.get(int(example.key[:8], 16) % 10, "train")


def one_line(text: str) -> str:
    """Return a text without tabs, which separate the input's parts and the answer."""
    return text.replace("\t", " ").strip()


def missing_column(where: str, column: str, columns: list[str], key: str) -> UserError:
    """Return the error of a column that is not there."""
    return UserError(
        f"{where} has no column {column} (it has {', '.join(columns)}): name it with "
        f"task.{key}={columns[0] if columns else '…'}",
        "invalid-text",
    )


def example_of_row(row: dict[str, Any], options: TaskConfig, where: str) -> Example:
    """Return the example of a row; `where` names it. Raise UserError where a value is missing."""
    texts = [options.text, *filter(None, [options.pair])]
    values = {}
    for key, column in [*zip(("text", "pair"), texts, strict=False), ("target", options.target)]:
        if column not in row:
            raise missing_column(where, column, list(row), key)
        value = row[column]
        values[key] = "" if value is None else one_line(str(value))
        if not values[key]:
            raise UserError(
                f"{where}: {column} is empty: fill it in, or leave it out", "invalid-text"
            )
    text = "\t".join(values[key] for key in ("text", "pair") if key in values)
    return Example(text, values["target"])
