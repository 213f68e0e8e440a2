"""Read examples from a public set by name through `datasets`, or from a local folder of one."""

from collections.abc import Iterator
from typing import Any

from bench.config.task_schema import TaskConfig
from bench.data.sources.hub import HubSet
from bench.tasks.finetuning.sources.base import SPLIT, Example, ExampleSource, example_of_row


class HubExamples(ExampleSource, name="hub"):
    """A set of the hub, in the parts that `task.parts` names; one part alone is split."""

    def __init__(self, options: TaskConfig, cache: str) -> None:
        instead = "files of your own with task.path=… and task.test_path=…"
        self.options, self.parts = options, options.parts or {"train": "train"}
        self.set = HubSet(options.repository, options.subset, "task", instead)

    def fingerprint(self) -> Any:
        columns = [self.options.text, self.options.pair, self.options.target]
        about = {"columns": columns, "parts": self.parts, "pairs": self.options.kind == "pairs"}
        return about | self.set.fingerprint()

    def examples(self) -> Iterator[tuple[str, Example]]:
        drawn_from = "test" if self.options.kind == "pairs" else SPLIT
        for part, expression in self.parts.items():
            name = drawn_from if part == "train" else part
            where = f"{self.set.name}, {expression}"
            with self.set.open_split(expression) as rows:
                for number, row in enumerate(rows, 1):
                    named = row | class_names(row, rows.features)
                    yield name, example_of_row(named, self.options, f"{where} row {number}")


def class_names(row: dict[str, Any], features: Any) -> dict[str, str]:
    """Return the classes of a row by name; empty for -1, which hides them in test parts."""
    classes = {name: kind.names for name, kind in features.items() if hasattr(kind, "names")}
    numbers = {name: -1 if row[name] is None else row[name] for name in classes}
    return {name: classes[name][number] if number >= 0 else "" for name, number in numbers.items()}
