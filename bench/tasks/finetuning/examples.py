"""Prepare the examples of a task: read, clean, split, and keep in a cache. Imports no torch."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data import cache
from bench.tasks.finetuning.sources.base import (
    SPLIT,
    Example,
    ExampleSource,
    open_examples,
    part_of,
)

logger = logging.getLogger(__name__)
FORMAT = 2  # raise it when the meaning of the cache's files changes
PARTS = ("train", "validation", "test")
MIN_HELD_OUT = 10  # examples of the validation part, and of the test part
MIN_SPLIT = 100  # examples of what is to be split
EXAMPLES_PER_LABEL = 8
CONFLICT_SHARE = 0.01  # of texts with several labels, from which on it is a warning

Parts = dict[str, list[Example]]


@dataclass(frozen=True)
class TaskExamples:
    """The examples of a task in three parts; the training part in a fixed order."""

    parts: Parts
    digest: str  # 16 hexadecimal digits over all parts
    facts: dict[str, Any]
    source: ExampleSource
    labels: tuple[str, ...] = ()  # of a classification
    folder: str = ""  # its name in the cache

    def training(self, count: int) -> list[Example]:
        """Return the first `count` training examples (0: all): smaller subsets are in larger ones.

        Raise UserError where there are fewer.
        """
        examples = self.parts["train"]
        if count > len(examples):
            raise UserError(
                f"task.examples={count}: the training part has {len(examples):,}: ask for fewer, "
                "or for 0, which is all"
            )
        return examples[: count or None]


def prepare_examples(options: TaskConfig, name: str, cache_path: str = "") -> TaskExamples:
    """Return the examples of a task, read once and then kept in the cache. Raise UserError."""
    source = open_examples(options, cache_path)
    key = {"examples": FORMAT, "source": [options.source, source.fingerprint()]}
    folder = cache.cache_folder(cache_path, name, key)
    with cache.build_once(folder) as missing:
        if missing:
            logger.info("preparing the task %s", name)
            _write(folder, *_split(source))
    parts: Parts = {part: [] for part in PARTS}
    for line in (folder / "examples.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            part, *values = json.loads(line)
            parts[part].append(Example(*values))
    manifest = cache.read_manifest(folder)
    labels = _check_labels(parts, options) if options.kind == "classification" else ()
    if options.kind != "pairs":
        _check_sizes(parts)
    return TaskExamples(parts, manifest["digest"], manifest["facts"], source, labels, folder.name)


def _split(source: ExampleSource) -> tuple[Parts, dict[str, Any]]:
    """Return the parts of a source without repeated texts, and how many were left out.

    A text that is in several parts stays in the test part, else in the validation part.
    """
    read, parts = _read_parts(source), Parts()
    owners, left_out = dict[str, str](), Counter[str]()
    for part in reversed(PARTS):
        parts[part] = []
        for example in sorted(read[part], key=lambda one: (one.key, one.text)):
            owner = owners.setdefault(example.text, part)
            if owner == part:
                parts[part].append(example)
            else:
                left_out[f"{part}_in_{owner}"] += 1
    return parts, {"left_out": dict(left_out), "counts": {p: len(parts[p]) for p in PARTS}}


def _read_parts(source: ExampleSource) -> Parts:
    """Return the examples of a source in parts; those without one join parts that it lacks."""
    read: Parts = {part: [] for part in (*PARTS, SPLIT)}
    for part, example in source.examples():
        read[part].append(example)
    given, to_split = {part for part in PARTS if read[part]}, read.pop(SPLIT)
    for example in to_split:
        part = part_of(example)
        read["train" if part in given else part].append(example)
    if not given and len(to_split) < MIN_SPLIT:
        raise UserError(
            f"{len(to_split)} examples are too few to split 80/10/10: give {MIN_SPLIT} at least, "
            "or files of their own by task.validation_path and task.test_path",
            "too-little-text",
        )
    return read


def _write(folder: Path, parts: Parts, facts: dict[str, Any]) -> None:
    lines = [json.dumps([part, *example]) for part in PARTS for example in parts[part]]
    content = "\n".join(lines).encode()
    cache.write_bytes(folder / "examples.jsonl", content)
    digest = hashlib.sha256(content).hexdigest()
    manifest = {"format": FORMAT, "digest": digest[:16], "facts": facts}
    cache.write_manifest(folder, manifest, {"examples.jsonl": digest})


def _check_sizes(parts: Parts) -> None:
    for part in ("validation", "test"):
        if len(parts[part]) < MIN_HELD_OUT:
            raise UserError(
                f"the {part} part has {len(parts[part])} examples: give more, or a file of its own "
                f"by task.{part}_path",
                "too-little-text",
            )


def _check_labels(parts: Parts, options: TaskConfig) -> tuple[str, ...]:
    """Return the labels of the training part, sorted. Raise UserError where none can be learned."""
    where = options.path or options.repository or options.source
    counts = _count_labels(parts["train"])
    if len(counts) == 1:
        raise UserError(
            f"{where}: all {counts.total()} labels are {next(iter(counts))!r}: there is nothing to "
            "tell apart",
            "invalid-text",
        )
    if len(counts) * EXAMPLES_PER_LABEL > counts.total():
        raise UserError(
            f"{where}: {len(counts)} different labels in {counts.total()} training examples: is "
            f"{options.target} a text? task=answers is for those",
            "invalid-text",
        )
    for part in ("validation", "test"):
        for label, count in _count_labels(parts[part]).items():
            if label not in counts:
                raise UserError(
                    f"{where}: the {part} part has the label {label!r} {count} times, the training "
                    "part never: leave it out, or add training examples",
                    "invalid-text",
                )
    _warn_of_conflicts(where, parts)
    return tuple(sorted(counts))


def _count_labels(examples: Iterable[Example]) -> Counter[str]:
    return Counter(example.target for example in examples)


def _warn_of_conflicts(where: str, parts: Parts) -> None:
    labels = dict[str, set[str]]()
    for example in (one for part in PARTS for one in parts[part]):
        labels.setdefault(example.text, set()).add(example.target)
    conflicts = sum(len(different) > 1 for different in labels.values())
    if conflicts > CONFLICT_SHARE * len(labels):
        logger.warning(f"{where}: {conflicts} of {len(labels)} texts have several labels")
