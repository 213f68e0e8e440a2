"""Read examples from a public set by name through `datasets`, or from a local folder of one."""

from collections.abc import Iterator
from typing import Any

from bench.config.task_schema import TaskConfig
from bench.data.sources.hub import HubSet
from bench.tasks.finetuning.sources.base import RowExamples


class HubExamples(RowExamples, name="hub"):
    """A set of the hub, in the parts that `task.parts` names; one part alone is split."""

    def __init__(self, options: TaskConfig, cache: str) -> None:
        instead = "files of your own with task.path=… and task.test_path=…"
        super().__init__(options, options.parts or {"train": "train"})
        self.set = HubSet(options.repository, options.subset, "task", instead)

    def fingerprint(self) -> dict[str, Any]:
        return super().fingerprint() | {"parts": self.parts} | self.set.fingerprint()

    def rows(self, part: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with self.set.open_split(part) as rows:
            for number, row in enumerate(rows, 1):
                where = f"{self.set.name}, {part} row {number}"
                yield where, row | class_names(row, rows.features)


def class_names(row: dict[str, Any], features: Any) -> dict[str, str]:
    """Return the classes of a row by name; empty for -1, which hides them in test parts."""
    classes = {name: kind.names for name, kind in features.items() if hasattr(kind, "names")}
    numbers = {name: -1 if row[name] is None else row[name] for name in classes}
    return {name: classes[name][number] if number >= 0 else "" for name, number in numbers.items()}
