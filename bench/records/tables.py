"""Read the records of a results folder as tidy tables.

Damaged records do not count and are listed in `Records.excluded`. Writes nothing, imports no torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow

from bench.records import contract_results
from bench.records.labels import variant_labels
from bench.records.loading import (
    UNREADABLE,
    StoredRun,
    excluded_row,
    load_measurement,
    read_json,
    select_runs,
)
from bench.records.preference_tables import PreferenceTables, read_preferences
from bench.records.run_tables import (
    DOCUMENT_COLUMNS,
    RUN_COLUMNS,
    WINDOW_COLUMNS,
    RunTables,
    metric_entries,
    read_run,
)
from bench.records.source import TRAINING, source_digests
from bench.records.task_tables import TaskTables, read_tasks
from bench.records.validation import baselines_error, calibration_error, checks_error, search_error

EXCLUDED_COLUMNS = "run status reason rerun".split()
VALUE_COLUMNS = "run metric unit better sample value note at".split()
CURVE_COLUMNS = "run arch variant label seed step tokens nats validation_nats".split()
EVALUATION_COLUMNS = (
    "run protocol part status reason data_digest metric unit better sample value note at"
).split()
SALIENCY_COLUMNS = "run arch variant seed reason context distances shares passages".split()
SUBJECT_COLUMNS = "environment options facts surroundings described".split()
MEASURE_COLUMNS = (
    "sitting machine subject arch twin status reason metric unit better sample value note at axis "
    "place round"
).split() + SUBJECT_COLUMNS
UNREADABLE_CALIBRATION = (
    "doctor.json cannot be read: whether this session's instruments are right is not known"
)
UNKNOWN_CALIBRATION: dict[str, Any] = {  # so the report makes no claim
    "findings": [{"name": "doctor.json", "off": True, "sentence": UNREADABLE_CALIBRATION}],
    "sentences": [],
}


@dataclass(frozen=True)
class Records:
    """The records below one results folder as tidy tables."""

    runs: pd.DataFrame  # a row per run: its last attempt that is done, else its last
    excluded: pd.DataFrame  # a row per record that does not count, or not whole, and why
    values: pd.DataFrame  # a row per number of a run
    curves: pd.DataFrame  # a row per logged step
    documents: pd.DataFrame  # a row per held-out document of a run
    windows: pd.DataFrame  # a row per sampled window of a run, for encoders too
    evaluations: pd.DataFrame  # a row per number of a further evaluation of a run
    saliency: pd.DataFrame  # a row per run whose predictions were explained
    measures: pd.DataFrame  # a row per number of a measurement
    calibrations: dict[str, dict[str, Any]]  # by session
    checks: dict[str, dict[str, Any]]  # contract results by the architecture's identity
    baselines: list[dict[str, Any]]  # of each text and context
    searches: list[dict[str, Any]]  # learning-rate searches
    preferences: PreferenceTables  # what runs learned from preferences
    tasks: TaskTables  # what runs were fine-tuned for


def by_session_precedence(measures: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a number: stopped sessions first, then by time; the last counts."""
    filled = measures[measures["value"].notna()]
    stopped = [isinstance(s, dict) and bool(s.get("stopped")) for s in filled["surroundings"]]
    complete = ~np.array(stopped, dtype=bool)
    return filled.assign(whole=complete).sort_values(["whole", "sitting"], kind="stable")


def read_records(root: Path) -> Records:
    """Read the records below results/<suite>."""
    selected, excluded = select_runs(root)
    tables = list(map(read_run, selected))
    excluded += _damaged_rows(selected, tables)
    runs = _run_table(tables)
    baselines, searches, checks = _read_shared(root, excluded)
    preferences, tasks = read_preferences(root), read_tasks(root)
    excluded += preferences.excluded + tasks.excluded
    return Records(
        runs=runs,
        excluded=pd.DataFrame(excluded, columns=EXCLUDED_COLUMNS),
        values=_sample_table(_chain(tables, "values"), VALUE_COLUMNS),
        curves=_curve_table(tables, runs),
        documents=_concatenate(_chain(tables, "documents"), ["run", *DOCUMENT_COLUMNS]),
        windows=_concatenate(_chain(tables, "windows"), ["run", *WINDOW_COLUMNS]),
        evaluations=_sample_table(_chain(tables, "evaluations"), EVALUATION_COLUMNS),
        saliency=pd.DataFrame(_chain(tables, "saliency"), columns=list(SALIENCY_COLUMNS)),
        measures=_sample_table(list(_measurement_entries(root)), MEASURE_COLUMNS),
        calibrations=_read_calibrations(root),
        checks=contract_results.results_by_architecture(checks),
        baselines=baselines,
        searches=searches,
        preferences=preferences,
        tasks=tasks,
    )


def _damaged_rows(
    selected: Sequence[StoredRun], tables: Sequence[RunTables]
) -> list[dict[str, str]]:
    return [
        excluded_row(run, "damaged", "; ".join(table.damage) + ". The rest of the record counts")
        for run, table in zip(selected, tables, strict=True)
        if table.damage
    ]


def _run_table(tables: Sequence[RunTables]) -> pd.DataFrame:
    runs = pd.DataFrame([table.run for table in tables], columns=list(RUN_COLUMNS))
    runs["label"] = variant_labels(runs)
    runs["stale"] = _are_stale(runs)
    return runs


def _curve_table(tables: Sequence[RunTables], runs: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in CURVE_COLUMNS if name != "label"]
    curves = pd.DataFrame(_chain(tables, "curve"), columns=columns)
    return curves.merge(runs[["run", "label"]], on="run", how="left")


def _chain(tables: Sequence[RunTables], name: str) -> list[Any]:
    return [row for table in tables for row in getattr(table, name)]


def _are_stale(runs: pd.DataFrame) -> list[bool]:
    """Return for each run whether sources other than today's trained or scored it."""
    targets = [str(config["arch"].get("_target_", "")) for config in runs["config"]]
    today = source_digests(TRAINING, targets)
    sources = [(one.get("digests") or {}).get("source") for one in runs["provenance"]]
    return [
        bool(status == "done" and source and source != today[target])
        for status, source, target in zip(runs["status"], sources, targets, strict=True)
    ]


def _sample_table(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return a row per sample, from entries that hold lists of samples; without a Python loop."""
    samples = [entry.get("value", [None]) for entry in entries]
    counts = np.array([len(one) for one in samples], dtype=int)
    keys = [name for name in columns if name not in ("value", "round", "sample")]
    wide = pd.DataFrame(entries, columns=keys)
    table = wide.loc[np.repeat(np.arange(len(wide)), counts)].reset_index(drop=True)
    values = pd.Series([value for one in samples for value in one], dtype=object)
    table["value"] = pd.to_numeric(values, errors="coerce").astype(float)
    table["round"] = [number for entry in entries for number in entry.get("round", [None])]
    table["sample"] = np.arange(len(table)) - np.repeat(np.cumsum(counts) - counts, counts)
    return table[list(columns)]


def _concatenate(tables: Sequence[pyarrow.Table], columns: Sequence[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=list(columns))
    return pyarrow.concat_tables(tables, promote_options="permissive").to_pandas()


def _measurement_entries(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(root.glob("measure/*/*/result.json")):
        subject, result, _ = load_measurement(path.parent)
        keys = {
            "sitting": path.parent.parent.name,
            **{name: subject[name] for name in ("machine", "subject", "arch")},
            "twin": bool(subject.get("twin")),
            "status": result["status"],
            "reason": result.get("reason") or "",
            **{name: subject.get(name) or {} for name in SUBJECT_COLUMNS},
        }
        numbers = list(metric_entries(result["metrics"], keys))
        yield from numbers or [keys | {"metric": "", "at": {}, "axis": "", "place": 0.0}]


def _read_shared(root: Path, excluded: list[dict[str, str]]) -> list[list[dict[str, Any]]]:
    """Return what is of no single run: baselines, searches and results of the contract."""
    checks = {
        "references/*.json": baselines_error,
        "tune/searches/*.json": search_error,
        "checks/*.json": checks_error,
    }
    return [_valid_files(root, pattern, check, excluded) for pattern, check in checks.items()]


def _valid_files(
    root: Path, pattern: str, check: Callable[[Any], str], excluded: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Return the content of the valid files of a kind; add rows about the others."""
    valid = []
    for path in sorted(root.glob(pattern)):
        content = read_json(path)
        if error := check(content):
            row = {"run": str(path.relative_to(root)), "status": UNREADABLE, "reason": error}
            excluded.append(row | {"rerun": ""})
        else:
            valid.append(content)
    return valid


def _read_calibrations(root: Path) -> dict[str, dict[str, Any]]:
    contents = {path.parent.name: read_json(path) for path in root.glob("measure/*/doctor.json")}
    return {
        session: UNKNOWN_CALIBRATION if calibration_error(content) else content
        for session, content in sorted(contents.items())
    }
