"""Define what a source of examples offers."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
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
    """Return the source that `task.source` names; files replace a hub set. Raise UserError."""
    name = "files" if options.path and options.source == "hub" else options.source
    source: type[ExampleSource] = member(ExampleSource, __package__, "task.source", name)
    return source(options, cache)


def part_of(example: Example) -> str:
    """Return the part of an example that comes without one: eight tenths are for training."""
    return HELD_OUT_BUCKETS.get(int(example.key[:8], 16) % 10, "train")


def one_line(text: str) -> str:
    """Return a text without tabs, which separate the input's parts and the answer."""
    return text.replace("\t", " ").strip()


class RowExamples(ExampleSource):
    """Rows with named columns, in parts; a part without rows of its own is drawn from training."""

    def __init__(self, options: TaskConfig, parts: Mapping[str, Any]) -> None:
        self.options, self.parts = options, parts

    @abstractmethod
    def rows(self, part: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the rows of a value of `parts`, each with where it is, in words."""

    def fingerprint(self) -> dict[str, Any]:
        columns = [self.options.text, self.options.pair, self.options.target]
        return {"columns": columns, "pairs": self.options.kind == "pairs"}

    def examples(self) -> Iterator[tuple[str, Example]]:
        drawn_from = "test" if self.options.kind == "pairs" else SPLIT  # pairs train nothing
        for name, part in self.parts.items():
            for where, row in self.rows(part):
                example = example_of_row(row, self.options, where)
                yield drawn_from if name == "train" else name, example


def example_of_row(row: dict[str, Any], options: TaskConfig, where: str) -> Example:
    """Return the example of a row; `where` names it. Raise UserError where a value is missing.

    Questions about one passage are one group: no passage is trained on and tested on.
    """
    keys = [key for key in ("text", "pair", "target") if getattr(options, key)]
    *texts, target = (_text_of(row, key, getattr(options, key), where) for key in keys)
    is_passage = options.kind == "generation" and len(texts) > 1
    return Example("\t".join(texts), target, texts[1] if is_passage else "")


def _text_of(row: dict[str, Any], key: str, column: str, where: str) -> str:
    """Return the text of a column, which may lead to a field of an object by a dot.

    A list of texts is one input, or several answers, of which the first counts.
    """
    value: Any = row
    for name in [column] if column in row else column.split("."):
        if not isinstance(value, dict) or name not in value:
            raise UserError(
                f"{where} has no column {column} (it has {', '.join(row)}): name it with "
                f"task.{key}={next(iter(row), '…')}",
                "invalid-text",
            )
        value = value[name]
    if isinstance(value, list):
        value = " ".join(map(str, value[:1] if key == "target" else value))
    text = "" if value is None else one_line(str(value))
    if not text:
        raise UserError(f"{where}: {column} is empty: fill it in, or leave it out", "invalid-text")
    return text
