"""How many modules a metric's value goes through, from a run's record to the files of a report."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pytest

import bench
from bench import reporting
from bench.records import metrics, tables
from bench.reporting import csv_export, page
from tests import fake_records

PACKAGE = Path(bench.__file__).parent
VALUE, TEXT = 11.515625, "11.516"  # as in the record, and in a cell of the page's table
LIMIT = 10  # modules; templates are not counted
# where the value is followed, and the file that it is on its way to there
STAGES = (
    (tables, "read_records", ("runs.csv", "index.html")),
    (csv_export, "csv_tables", ("runs.csv",)),
    (import_module("bench.analysis.build"), "aggregate_variants", ("index.html",)),
    (page, "_main_sections", ("index.html",)),
)


@pytest.fixture
def registered() -> Iterator[None]:
    metrics.register("surprise", "nats/token", "lower", "likelihood", "surprise", "Worst token.")
    yield
    metrics.REGISTRY.pop("surprise")


def holds(value: object, depth: int = 5) -> bool:
    """Whether a value is the metric's, or a text, table or container that holds it."""
    if isinstance(value, float):
        return value == VALUE
    if isinstance(value, str):
        return TEXT in value or str(VALUE) in value
    if isinstance(value, pd.DataFrame):
        return any((value[name] == VALUE).any() for name in ("value", "surprise") if name in value)
    parts = value.values() if isinstance(value, dict) else value
    if is_dataclass(value):
        parts = vars(value).values()
    elif not isinstance(value, dict | list | tuple):
        return False
    return depth > 0 and any(holds(part, depth - 1) for part in parts)


def followed(stage: Callable[..., Any], files: set[str]) -> Callable[..., Any]:
    """Return a function that does the same and adds the modules that hand the value on."""

    def follow(frame: FrameType, event: str, result: object) -> None:
        file = frame.f_code.co_filename
        if event == "return" and file.startswith(str(PACKAGE)) and file.endswith(".py"):
            name = str(Path(file).relative_to(PACKAGE))
            if name not in files and holds(result):
                files.add(name)

    def run(*arguments: Any) -> Any:
        sys.setprofile(follow)
        try:
            return stage(*arguments)
        finally:
            sys.setprofile(None)

    return run


@pytest.mark.usefixtures("registered")
def test_a_metric_goes_through_few_modules_from_its_record_to_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = [metrics.metric("bits_per_byte", 2.0), metrics.metric("surprise", VALUE)]
    fake_records.write_run(tmp_path, "lstm", 0, metrics=values)
    modules: dict[str, set[str]] = {}
    for module, name, _ in STAGES:
        files = modules.setdefault(name, set())
        monkeypatch.setattr(module, name, followed(getattr(module, name), files))
    written, _ = reporting.make_report(tmp_path)
    assert TEXT in written.read_text(encoding="utf-8")
    assert VALUE in list(pd.read_csv(written.parent / "runs.csv")["value"])
    for goal, last in (("runs.csv", "csv_export.py"), ("index.html", "page.py")):
        files = set().union(*(modules[name] for _, name, goals in STAGES if goal in goals))
        assert {"records/loading.py", f"reporting/{last}"} <= files
        assert len(files) <= LIMIT, (goal, sorted(files))
