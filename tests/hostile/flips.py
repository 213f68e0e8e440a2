"""Flip single bits of whatever a suite leaves on the disk, and see what every reader makes of it.

  python -m tests.hostile.flips [COUNT] [SEED]      prints the outcomes by kind of file

Each flip is rebuilt (the reader makes the file anew), named (an error, a warning, or a row of the
report's list of damaged records), or harmless (all that is read is equal). Anything else is silent:
a wrong number.
"""

import json
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from bench import data
from bench.config.errors import UserError
from bench.execution.fit import recipe_origin
from bench.planning import budget
from bench.records.tables import read_records
from bench.tasks.finetuning.examples import prepare_examples
from bench.tasks.finetuning.results import load_task
from bench.tasks.preferences.part_store import PartStore
from bench.tasks.preferences.parts import list_parts
from bench.training import build_optimizer, load, read_run, setup
from bench.training.checkpoint import load_train_state
from tests.hostile import campaign

MAY_BE_EMPTY = ("text", "environment", "base_bits_per_byte", "encoder")  # of a run, if damaged
MARKS = ("unreadable", "instruments are right is not known")  # of what is said to be damaged
logger = logging.getLogger("bench")


class Reader(NamedTuple):
    """What reads some files: it returns all that it read, and raises UserError."""

    kind: str
    files: list[Path]
    read: Callable[[], Any]


class Warnings(logging.Handler):
    """Count the warnings of a reader."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


# --- what is read ---------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return a value as lists, mappings and numbers that compare by value."""
    if isinstance(value, pd.DataFrame):
        return sorted(json.dumps(row, default=plain, sort_keys=True) for row in rows(value))
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else repr(value)


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table; a row without a value makes a column of integers one of floats."""
    return [
        {str(key): float(one) if isinstance(one, Real) else one for key, one in row.items()}
        for row in table.to_dict("records")
    ]


def corpus_of(folder: Path) -> Any:
    run = read_run(folder)
    corpus = data.prepare(run.data, run.names["data"])
    parts = {name: [plain(np.asarray(one)) for one in (p.tokens, p.starts, p.sizes)]
             for name, p in corpus.parts.items()}  # fmt: skip
    return [corpus.digest, corpus.facts, parts, corpus.vocabulary.describe()]


def examples_of(folder: Path) -> Any:
    run = read_run(folder)
    task = prepare_examples(run.task, run.names["task"], run.data.cache)
    return [task.digest, task.facts, plain(task.parts)]


def weights_of(folder: Path) -> Any:
    trained = load(folder)
    return [plain(trained.model.state_dict()), trained.vocabulary.describe(), repr(trained.run)]


def task_of(folder: Path) -> Any:
    trained = load_task(folder)
    return [plain(trained.objective.state_dict()), trained.labels, repr(trained.run)]


def state_of(folder: Path) -> Any:
    """Return what an unfinished run resumes from; its files are as before afterwards."""
    run = read_run(folder)
    made = setup(run, data.prepare(run.data, run.names["data"]))
    optimizer = build_optimizer(made.objective, run.optimizer, made.settings.learning_rate)
    digests = campaign.recorded_digests(folder)
    origin = recipe_origin(run, made) | {name: digests[name] for name in ("data", "text", "order")}
    state = load_train_state(folder / "checkpoint", made.objective, optimizer, origin)
    return [repr(state), plain(made.objective.state_dict()), plain(optimizer.state_dict())]


def parts_of(folder: Path) -> Any:
    run, store = read_run(folder), PartStore(folder)
    return [
        store.result(part) for part in list_parts(run.preference, run.seed, run.preference.labels)
    ]


def plan_of(folder: Path) -> Any:
    return budget.apply_plan(campaign.planned(read_run(folder)))


def readers(place: Path) -> Iterator[Reader]:
    """Yield what reads the files of a place that `campaign.make_suite` made."""
    suite, cache = place / "results" / "single", place / "cache"
    (run,) = suite.glob("runs/gru-*-s0-*")
    (half,) = suite.glob("runs/gru-*-s1-*")
    (task,), (stage,) = suite.glob("tasks/gru-*"), suite.glob("preferences/gru-*")
    texts = list(cache.glob("text-*/*")) + list(cache.glob("file_hashes-*"))
    yield Reader("cache of a text", texts, lambda: corpus_of(run))
    yield Reader("cache of examples", list(cache.glob("labels-*/*")), lambda: examples_of(task))
    records = [one for folder in (run, task, stage) for one in folder.iterdir()]
    yield Reader("records", records, lambda: read_records(suite))
    shared = [one for name in ("measure/*/*/*", "measure/*/*.json", "references/**/*.json",
              "tune/searches/*", "checks/*") for one in suite.glob(name)]  # fmt: skip
    yield Reader("measurements, baselines, searches", shared, lambda: read_records(suite))
    yield Reader("plans", list(suite.glob("plans/*")), lambda: plan_of(run))
    yield Reader(
        "weights", [*run.glob("checkpoint/*"), run / "config.yaml"], lambda: weights_of(run)
    )
    yield Reader(
        "weights", [*task.glob("checkpoint/*"), task / "config.yaml"], lambda: task_of(task)
    )
    (policy,) = stage.glob("parts/dpo-*")
    yield Reader(
        "weights",
        [*policy.glob("checkpoint/*"), policy / "config.yaml"],
        lambda: weights_of(policy),
    )
    yield Reader("training states", list(half.glob("checkpoint/training*")), lambda: state_of(half))
    parts = list(stage.glob("parts/*/*"))
    yield Reader("parts of a stage", parts, lambda: parts_of(stage))


# --- one flip -------------------------------------------------------------------------------------


def outcome(reader: Reader, path: Path, expected: Any) -> str:
    """Return what a reader makes of a changed file: rebuilt, named, harmless or silent."""
    warnings, changed = Warnings(), path.read_bytes()
    logger.addHandler(warnings)
    try:
        value = reader.read()
    except UserError:
        return "named"
    finally:
        logger.removeHandler(warnings)
    if plain(value) == expected:
        return "rebuilt" if not path.exists() or path.read_bytes() != changed else "harmless"
    if reader.kind in ("training states", "parts of a stage") and warnings.count:
        return "named"
    if reader.kind == "plans" and not value.train.planned:
        return "rebuilt"  # no plan is read: the next command makes it
    if reader.kind == "parts of a stage":
        lost = [one for one, old in zip(value, expected, strict=True) if plain(one) != old]
        return "rebuilt" if lost == [None] else "silent"
    return records_outcome(plain(value), expected) if hasattr(value, "excluded") else "silent"


def records_outcome(now: dict[str, Any], before: dict[str, Any]) -> str:
    """Return whether all numbers are as before, or left out and named.

    Labels may change: they say by what rows differ from those that are left.
    """
    now, before = without_labels(now), without_labels(before)
    new = [line for line in now["excluded"] if line not in before["excluded"]]
    is_named = bool(new) or damaged(now) > damaged(before)
    return "named" if is_named and not changed_numbers(now, before) else "silent"


def without_labels(value: Any) -> Any:
    """Return tables, whose rows are JSON texts, without the labels of their rows."""
    if isinstance(value, dict):
        return {key: without_labels(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_labels(one) for one in value]
    if not (isinstance(value, str) and value.startswith("{")):
        return value
    row = json.loads(value)
    return json.dumps({key: one for key, one in row.items() if key != "label"}, sort_keys=True)


def damaged(value: Any) -> int:
    """Return how much is said to be damaged."""
    text = json.dumps(value)
    return sum(text.count(mark) for mark in MARKS)


def changed_numbers(now: dict[str, Any], before: dict[str, Any]) -> list[Any]:
    """Return the rows of all tables that are neither as before nor said to be damaged."""
    wrong = list[Any]()
    for name, table in now.items():
        if name in ("tasks", "preferences"):
            wrong += changed_numbers(table, before[name])
        elif name in ("runs", "stages"):
            wrong += [row for row in table if not any(less(row, old) for old in before[name])]
        elif name != "excluded":
            rows, old = ([json.dumps(one) for one in as_list(x)] for x in (table, before[name]))
            wrong += [one for one in Counter(rows) - Counter(old) if not damaged(one)]
    return wrong


def as_list(table: Any) -> list[Any]:
    return list(table.items()) if isinstance(table, dict) else table


def less(row: str, old: str) -> bool:
    """Return whether a run is as before, unreadable, or without what a damaged file held."""
    new, before = json.loads(row), json.loads(old)
    return new["status"] == "unreadable" or all(
        json.dumps(value) == json.dumps(before[key]) or (key in MAY_BE_EMPTY and not value)
        for key, value in new.items()
    )


def flip(count: int, seed: int, place: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Return the outcomes of so many flips by kind, and those that are silent."""
    outcomes, silent, draw = Counter[tuple[str, str]](), list[str](), random.Random(seed)
    choices = [
        (reader, [one for one in reader.files if one.is_file() and one.stat().st_size])
        for reader in readers(place)
    ]
    expected = [plain(reader.read()) for reader, _ in choices]
    keep = {one: one.read_bytes() for _, files in choices for one in files}
    for number in range(count):
        which = number % len(choices)
        reader, files = choices[which]
        path = draw.choice(files)
        at, bit = draw.randrange(len(keep[path])), draw.randrange(8)
        content = bytearray(keep[path])
        content[at] ^= 1 << bit
        path.write_bytes(bytes(content))
        result = outcome(reader, path, expected[which])
        outcomes[reader.kind, result] += 1
        if result == "silent":
            silent.append(f"{path.relative_to(place)}: byte {at}, bit {bit}")
        restore(keep, files)
    return outcomes, silent


def restore(keep: dict[Path, bytes], files: list[Path]) -> None:
    """Put files back as they were, where they are not."""
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != keep[path]:
            path.write_bytes(keep[path])


def main(count: int = 500, seed: int = 0) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ |= campaign.environment(place)
        os.chdir(place)
        campaign.make_suite(place)
        outcomes, silent = flip(count, seed, place)
    print(campaign.table(outcomes), *silent, sep="\n")
    return int(bool(silent))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
