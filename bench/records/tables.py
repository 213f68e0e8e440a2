"""Records read back as tidy tables. Writes nothing, counts nothing that is damaged and tells of it, and imports no torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from bench.config.schema import ControlConfig, is_control
from bench.records import contract_results, selection
from bench.records.labels import variant_labels
from bench.records.loading import UNREADABLE, load_measurement, read_curve_lines, read_json
from bench.records.schema import (
    baselines_error,
    calibration_error,
    first_mismatch,
    headline_error,
    result_error,
    search_error,
)

MEASUREMENT_CONTEXT = ("environment", "options", "facts", "surroundings", "described")
CALIBRATION_UNREADABLE = (
    "doctor.json can not be read: whether this sitting's rulers are right is not known"
)
UNKNOWN_CALIBRATION = {
    "findings": [{"name": "doctor.json", "off": True, "sentence": CALIBRATION_UNREADABLE}],
    "sentences": [],
}  # so no claim is made


@dataclass(frozen=True)
class Records:
    """Everything under one results folder as tidy tables (docs/architecture.md lists their columns)."""

    runs: pd.DataFrame  # a row a run: its last attempt that is done, else its last
    aside: pd.DataFrame  # a row a record that counts for nothing, or for less: a copy, an attempt, what is damaged, and why
    values: pd.DataFrame  # a row a number of a run
    curves: pd.DataFrame  # a row a logged step
    documents: pd.DataFrame  # a row a held-out document of a run
    windows: pd.DataFrame  # a row a sampled window of a run, that encoders are scored on too
    evaluations: (
        pd.DataFrame
    )  # a row a number of a finished run that was scored again by another protocol
    measures: pd.DataFrame  # a row a number of a measurement
    calibrations: dict[str, dict[str, Any]]  # sitting: what the doctor found about its rulers
    checks: dict[
        str, dict[str, Any]
    ]  # architecture's identity: what python -m bench.check --keep found
    baselines: list[dict[str, Any]]  # of each text and context: what needs no architecture reaches
    searches: list[
        dict[str, Any]
    ]  # of each architecture: the trials of the search for its learning rate


RUN_COLUMNS = (
    "run folder arch family variant subject label data data_digest order_digest tokenizer size objective protocol part seed "
    "facts control status reason rerun precision kernels text environment provenance config"
).split()
EXCLUDED_COLUMNS = "run status reason rerun".split()
VALUE_COLUMNS = "run metric unit better sample value note at".split()
CURVE_COLUMNS = "run arch variant label seed step tokens nats validation_nats".split()
DOCUMENT_COLUMNS = "run document bytes tokens nats".split()
WINDOW_COLUMNS = "run window bytes tokens nats".split()
EVALUATION_COLUMNS = (
    "run protocol part status reason data_digest metric unit better sample value note at".split()
)
MEASURE_COLUMNS = (
    "sitting machine subject arch twin status reason metric unit better sample value note at axis place round environment "
    "options facts surroundings described"
).split()


def by_session_precedence(measures: pd.DataFrame) -> pd.DataFrame:
    """The rows with a number, in the order in which sittings count, the last most: first the stopped ones, then by time."""
    filled = measures[measures["value"].notna()]
    whole = [
        not (isinstance(around, dict) and around.get("stopped"))
        for around in filled["surroundings"]
    ]
    return filled.assign(whole=whole).sort_values(["whole", "sitting"], kind="stable")


def _metric_entries(
    metrics: Iterable[Mapping[str, Any]], keys: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """A dict a metric, its samples still together: `_table` sets them apart."""
    for metric in metrics:
        values = metric["values"] or [
            None
        ]  # a number that could not be had stays as a row without a value: its note says why
        rounds = metric.get("rounds") or range(len(values))
        count = min(len(values), len(rounds))
        row = {name: metric.get(name) or "" for name in ("unit", "better", "note")}
        at = metric.get("at") or {}
        axis, place = next(iter(at.items())) if len(at) == 1 else (",".join(sorted(at)), 0.0)
        places = {"at": at, "axis": axis, "place": float(place)}
        yield {
            **keys,
            "metric": metric["name"],
            **row,
            **places,
            "value": list(values)[:count],
            "round": list(rounds)[:count],
        }


def _sample_table(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A row a sample, from dicts that hold the samples of a metric: many thousands of samples, and no loop over them."""
    samples = [entry.get("value", [None]) for entry in entries]
    counts = np.array([len(one) for one in samples], dtype=int)
    wide = pd.DataFrame(
        entries, columns=[name for name in columns if name not in ("value", "round", "sample")]
    )
    table = wide.loc[np.repeat(np.arange(len(wide)), counts)].reset_index(drop=True)
    values = pd.Series([value for one in samples for value in one], dtype=object)
    table["value"] = pd.to_numeric(values, errors="coerce").astype(float)
    table["round"] = [number for entry in entries for number in entry.get("round", [None])]
    table["sample"] = np.arange(len(table)) - np.repeat(np.cumsum(counts) - counts, counts)
    return table[list(columns)]


def _run_row(one: selection.StoredRun, text: str, environment: Mapping[str, Any]) -> dict[str, Any]:
    config, provenance, result = one.look.config, one.look.provenance, one.look.result
    names, facts, digests = (
        config["names"],
        result.get("facts") or {},
        provenance.get("digests") or {},
    )
    waits = (
        "not finished: the same command takes it up again"
        if one.look.status == "unfinished"
        else ""
    )
    return {
        "run": one.folder.name, "folder": str(one.folder), "arch": names["arch"],
        "family": config["arch"].get("family") or "",
        "variant": selection.run_key(one)[0], "subject": provenance.get("subject") or "", "label": names["arch"],
        "data": names["data"], "data_digest": digests.get("data") or "", "order_digest": digests.get("order") or "",
        "tokenizer": config["data"]["tokenizer"], "size": names["size"],
        "objective": facts.get("objective") or config["objective"]["kind"], "protocol": facts.get("protocol") or "",
        "part": facts.get("part") or "", "seed": config["seed"], "facts": facts, "control": _is_control(config),
        "status": one.look.status, "reason": result.get("reason") or one.look.reason or waits,
        "rerun": provenance.get("rerun") or "", "precision": facts.get("precision") or "", "text": text,
        "kernels": facts.get("kernels") or "",
        "environment": environment, "provenance": provenance,
        "config": config,
    }  # fmt: skip


def _is_control(config: Mapping[str, Any]) -> bool:
    """Whether a run belongs to the A/A control of its suite."""
    control = config.get("control") or {}
    return is_control(
        ControlConfig(control.get("arch") or "", control.get("seeds") or []),
        config["names"]["arch"],
        config["seed"],
    )


def _nats_table(path: Path, columns: Sequence[str], spoiled: list[str]) -> Iterator[pyarrow.Table]:
    """The nats of a run's documents or windows, where there are any; turned into a table once for all runs: ten times as fast."""
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        numbers = [name for name in columns if name != "run"]
        schema = pyarrow.schema(
            [
                (name, pyarrow.float64() if name in ("nats", "bytes") else pyarrow.int64())
                for name in numbers
            ]
        )
        table = table.select(numbers).cast(schema)
        if not np.isfinite(table["nats"].to_numpy()).all():
            raise ValueError("nats that are no finite numbers")
        yield table.append_column(
            "run", pyarrow.array([path.parent.name] * len(table), pyarrow.string())
        )
    except FileNotFoundError:
        return
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        spoiled.append(f"{path.name} is left out ({str(error).splitlines()[0]})")


def _concatenate(tables: Sequence[pyarrow.Table], columns: Sequence[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=list(columns))
    return pyarrow.concat_tables(tables, promote_options="permissive").to_pandas()


def _evaluation_entries(folder: Path, spoiled: list[str]) -> Iterator[dict[str, Any]]:
    """What a run was scored by again, or why it could not be."""
    for path in sorted(folder.glob("evaluations/*/result.json")):
        result = read_json(path)
        wrong = result_error(result) or (
            headline_error(result, {}) if result["status"] == "done" else ""
        )
        if wrong:
            spoiled.append(f"{path.relative_to(folder)} is left out ({wrong})")
            continue
        facts = result.get("facts") or {}
        keys = {
            "run": folder.name,
            "status": result["status"],
            "reason": result.get("reason") or "",
        }
        keys |= {name: facts.get(name) or "" for name in ("protocol", "part", "data_digest")}
        yield from list(_metric_entries(result["metrics"], keys)) or [
            keys | {"metric": "", "at": {}}
        ]


def _read_text(path: Path, spoiled: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        spoiled.append(f"{path.name} is left out ({error})")
        return ""


def _read_environment(path: Path, spoiled: list[str]) -> dict[str, Any]:
    content = read_json(path)
    if isinstance(content, dict):
        return content
    if path.exists():
        spoiled.append(f"{path.name} is left out ({first_mismatch(content, {})})")
    return {}


def _read_curve(one: selection.StoredRun, spoiled: list[str]) -> list[dict[str, Any]]:
    rows, lost = read_curve_lines(one.folder / "curve.jsonl")
    if (
        lost and one.look.status == "done"
    ):  # a kill cuts the last line short, and whoever takes the run up again mends it
        spoiled.append(
            f"{lost} of the lines of curve.jsonl {'is' if lost == 1 else 'are'} left out (no logged step)"
        )
    return rows


def read_records(root: Path) -> Records:
    """Read the records below results/<suite>. What is damaged counts for nothing and is told of; nothing is written."""
    runs: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    documents: list[pyarrow.Table] = []
    windows: list[pyarrow.Table] = []
    evaluations: list[dict[str, Any]] = []
    found, aside = selection.select_runs(root)
    for one in found:
        folder, spoiled = one.folder, [one.look.aside] if one.look.aside else []
        row = _run_row(
            one,
            _read_text(folder / "text.txt", spoiled),
            _read_environment(folder / "environment.json", spoiled),
        )
        runs.append(row)
        values.extend(_metric_entries(one.look.result.get("metrics", ()), {"run": folder.name}))
        keys = {key: row[key] for key in ("run", "arch", "variant", "seed")}
        curves.extend({**keys, **line} for line in _read_curve(one, spoiled))
        documents.extend(_nats_table(folder / "documents.parquet", DOCUMENT_COLUMNS, spoiled))
        windows.extend(_nats_table(folder / "windows.parquet", WINDOW_COLUMNS, spoiled))
        evaluations.extend(_evaluation_entries(folder, spoiled))
        if spoiled:
            aside.append(
                selection.excluded_row(
                    one, "damaged", "; ".join(spoiled) + ". The rest of the record stands"
                )
            )
    table = pd.DataFrame(runs, columns=list(RUN_COLUMNS))
    table["label"] = variant_labels(table)
    curve = pd.DataFrame(curves, columns=[name for name in CURVE_COLUMNS if name != "label"])
    curve = curve.merge(table[["run", "label"]], on="run", how="left")
    references, wrong_references = _valid_files(root, "references/*.json", baselines_error)
    searches, wrong_searches = _valid_files(root, "tune/searches/*.json", search_error)
    return Records(
        runs=table,
        aside=pd.DataFrame(
            [*aside, *wrong_references, *wrong_searches], columns=list(EXCLUDED_COLUMNS)
        ),
        values=_sample_table(values, VALUE_COLUMNS),
        curves=curve,
        documents=_concatenate(documents, DOCUMENT_COLUMNS),
        windows=_concatenate(windows, WINDOW_COLUMNS),
        evaluations=_sample_table(evaluations, EVALUATION_COLUMNS),
        measures=_sample_table(list(_measurement_entries(root)), MEASURE_COLUMNS),
        calibrations=_read_calibrations(root),
        checks=contract_results.read_contract_results(root),
        baselines=references,
        searches=searches,
    )


def _measurement_entries(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(root.glob("measure/*/*/result.json")):
        about, result, _ = load_measurement(path.parent)
        keys = {
            "sitting": path.parent.parent.name, "machine": about["machine"], "subject": about["subject"],
            "arch": about["arch"], "twin": bool(about.get("twin")), "status": result["status"],
            "reason": result.get("reason") or "", **{name: about.get(name) or {} for name in MEASUREMENT_CONTEXT},
        }  # fmt: skip
        numbers = list(_metric_entries(result["metrics"], keys))
        yield from numbers or [keys | {"metric": "", "at": {}, "axis": "", "place": 0.0}]


def _valid_files(
    root: Path, pattern: str, wrong: Callable[[Any], str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The sound files of a kind, and what is told of the others."""
    found = [(path, read_json(path)) for path in sorted(root.glob(pattern))]
    unsound = [(path, reason) for path, content in found if (reason := wrong(content))]
    told = [
        {"run": str(path.relative_to(root)), "status": UNREADABLE, "reason": reason, "rerun": ""}
        for path, reason in unsound
    ]
    passed = {path for path, _ in unsound}
    return [content for path, content in found if path not in passed], told


def _read_calibrations(root: Path) -> dict[str, dict[str, Any]]:
    found = {
        path.parent.name: read_json(path) for path in sorted(root.glob("measure/*/doctor.json"))
    }
    return {
        name: UNKNOWN_CALIBRATION if calibration_error(content) else content
        for name, content in found.items()
    }
