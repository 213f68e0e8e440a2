"""Read GoEmotions as sentiment: comments whose emotions are all positive, or all negative.

Demszky et al. 2020, arXiv:2005.00547; CC BY 4.0. It contains profanity.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.data.cache import hash_file
from bench.tasks.finetuning.sources.base import Example, ExampleSource, one_line

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
POSITIVE = frozenset("0 1 4 5 8 13 15 17 18 20 21 23".split())  # admiration … relief
NEGATIVE = frozenset("2 3 9 10 11 12 14 16 19 24 25".split())  # anger … sadness


class GoEmotions(ExampleSource, name="goemotions"):
    """The set's own parts, from the folder `task.path` of train.tsv, dev.tsv and test.tsv."""

    def __init__(self, options: TaskConfig, cache: str) -> None:
        self.files = {part: Path(options.path).expanduser() / name for part, name in FILES.items()}
        for file in self.files.values():
            if not options.path or not file.is_file():
                raise UserError(
                    f"task.path={options.path} holds no {file.name}: name the folder of "
                    "GoEmotions' train.tsv, dev.tsv and test.tsv",
                    "missing-file",
                )

    def fingerprint(self) -> Any:
        return {part: hash_file(file) for part, file in self.files.items()}

    def examples(self) -> Iterator[tuple[str, Example]]:
        for part, file in self.files.items():
            for line in file.read_text(encoding="utf-8").splitlines():
                text, labels, _ = line.rsplit("\t", 2)
                sentiment = _sentiment(set(labels.split(",")))
                if sentiment and one_line(text):
                    yield part, Example(one_line(text), sentiment)


def _sentiment(labels: set[str]) -> str:
    if labels <= POSITIVE:
        return "positive"
    return "negative" if labels <= NEGATIVE else ""
