"""Records read back as tidy tables. Writes nothing, passes over what is broken, and imports no torch."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import yaml
from pyarrow import parquet

from bench import checked
from bench.config import Control, controls
from bench.record import read_curve, read_json
from bench.variants import labels

BLOCK = re.compile(r"(?m)^(?=[^\s\-#])")  # where a key of the top level begins
LINKED = re.compile(r"(?m)^(---|%|\.\.\.)|(^|[\s\[{,])[&*!]\w")  # several documents, or a value that another block defines
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built


@dataclass(frozen=True)
class Records:
    """Everything under one results folder as tidy tables (docs/architecture.md lists their columns)."""

    runs: pd.DataFrame  # a row a run: its last attempt
    values: pd.DataFrame  # a row a number of a run
    curves: pd.DataFrame  # a row a logged step
    documents: pd.DataFrame  # a row a held-out document of a run
    windows: pd.DataFrame  # a row a sampled window of a run, that encoders are scored on too
    evaluations: pd.DataFrame  # a row a number of a finished run that was scored again by another protocol
    measures: pd.DataFrame  # a row a number of a measurement
    doctors: dict[str, dict[str, Any]]  # sitting: what the doctor found about its rulers
    checks: dict[str, dict[str, Any]]  # architecture's identity: what python -m bench.check --keep found
    references: list[dict[str, Any]]  # of each text and context: what needs no architecture reaches
    searches: list[dict[str, Any]]  # of each architecture: the trials of the search for its learning rate


RUN_COLUMNS = (
    "run folder arch family variant subject label data data_digest order_digest tokenizer size objective protocol part seed "
    "facts control status reason rerun precision kernels text environment provenance config"
).split()
VALUE_COLUMNS = "run metric unit better sample value note at".split()
CURVE_COLUMNS = "run arch variant label seed step tokens nats validation_nats".split()
DOCUMENT_COLUMNS = "run document bytes tokens nats".split()
WINDOW_COLUMNS = "run window bytes tokens nats".split()
EVALUATION_COLUMNS = "run protocol part status reason data_digest metric unit better sample value note at".split()
MEASURE_COLUMNS = (
    "sitting machine subject arch twin status reason metric unit better sample value note at axis place round environment "
    "options facts surroundings described"
).split()


def _config(folder: Path) -> dict[str, Any]:
    try:
        content = _parsed((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _parsed(text: str) -> Any:
    """A YAML text. Its top-level blocks are mostly alike from run to run: each is parsed once, and shared by all that hold it."""
    if LINKED.search(text):
        return yaml.load(text, Loader=LOADER)
    whole: dict[str, Any] = {}
    for block in BLOCK.split(text):
        found = _block(block) if block.strip() else {}
        if not isinstance(found, dict):
            return yaml.load(text, Loader=LOADER)
        whole |= found
    return whole


@lru_cache(maxsize=4096)
def _block(text: str) -> Any:
    return yaml.load(text, Loader=LOADER)


def _latest(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The last attempt of each run below a results folder, with its configuration."""
    last: dict[str, tuple[int, Path, dict[str, Any]]] = {}
    for path in sorted(root.glob("runs/*/config.yaml")):
        folder, config = path.parent, _config(path.parent)
        if not {"names", "arch", "data", "seed"} <= config.keys():
            continue
        attempt = int((read_json(folder / "provenance.json") or {}).get("attempt", 1))
        first = folder.name if attempt == 1 else folder.name.removesuffix(f"-a{attempt}")
        if first not in last or attempt > last[first][0]:
            last[first] = (attempt, folder, config)
    for _, folder, config in last.values():
        yield folder, config


def _numbers(metrics: Iterable[Mapping[str, Any]], keys: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A dict a metric, its samples still together: `_table` sets them apart."""
    for metric in metrics:
        values = metric["values"] or [None]  # a number that could not be had stays as a row without a value: its note says why
        rounds = metric.get("rounds") or range(len(values))
        count = min(len(values), len(rounds))
        row = {name: metric.get(name, "") for name in ("unit", "better", "note")}
        at = metric.get("at") or {}
        axis, place = next(iter(at.items())) if len(at) == 1 else (",".join(sorted(at)), 0.0)
        places = {"at": at, "axis": axis, "place": float(place)}
        yield {**keys, "metric": metric["name"], **row, **places, "value": list(values)[:count], "round": list(rounds)[:count]}


def _table(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A row a sample, from dicts that hold the samples of a metric: many thousands of samples, and no loop over them."""
    samples = [entry.get("value", [None]) for entry in entries]
    counts = np.array([len(one) for one in samples], dtype=int)
    wide = pd.DataFrame(entries, columns=[name for name in columns if name not in ("value", "round", "sample")])
    table = wide.loc[np.repeat(np.arange(len(wide)), counts)].reset_index(drop=True)
    values = pd.Series([value for one in samples for value in one], dtype=object)
    table["value"] = pd.to_numeric(values, errors="coerce").astype(float)
    table["round"] = [number for entry in entries for number in entry.get("round", [None])]
    table["sample"] = np.arange(len(table)) - np.repeat(np.cumsum(counts) - counts, counts)
    return table[list(columns)]


def _run_row(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    names, provenance = config["names"], read_json(folder / "provenance.json") or {}
    environment, facts, arch = read_json(folder / "environment.json") or {}, result.get("facts", {}), config["arch"]
    digests = provenance.get("digests", {})
    try:
        text = (folder / "text.txt").read_text(encoding="utf-8")
    except OSError:
        text = ""
    return {
        "run": folder.name, "folder": str(folder), "arch": names["arch"], "family": str(arch.get("family", "")),
        "variant": provenance.get("variant", ""), "subject": provenance.get("subject", ""), "label": names["arch"],
        "data": names["data"], "data_digest": digests.get("data", ""), "order_digest": digests.get("order", ""),
        "tokenizer": config["data"]["tokenizer"], "size": names["size"],
        "objective": facts.get("objective", config["objective"]["kind"]), "protocol": facts.get("protocol", ""),
        "part": facts.get("part", ""), "seed": config["seed"], "facts": facts, "control": _controls(config),
        "status": result.get("status", "unfinished"),
        "reason": result.get("reason", "" if result else "not finished: the same command takes it up again"),
        "rerun": provenance.get("rerun", ""), "precision": facts.get("precision", ""), "text": text,
        "kernels": facts.get("kernels", ""),
        "environment": environment, "provenance": provenance,
        "config": config,
    }  # fmt: skip


def _controls(config: Mapping[str, Any]) -> bool:
    """Whether a run belongs to the A/A control of its suite."""
    control = config.get("control") or {}
    return controls(Control(control.get("arch", ""), control.get("seeds", [])), config["names"]["arch"], config["seed"])


def _nats(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.Table]:
    """The nats of a run's documents or windows, where there are any; turned into a table once for all runs: ten times as fast."""

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        names = pyarrow.array([path.parent.name] * len(table), pyarrow.string())
        yield table.select([name for name in columns if name != "run"]).append_column("run", names)
    except (OSError, KeyError, pyarrow.ArrowException):
        return


def _joined(tables: Sequence[pyarrow.Table], columns: Sequence[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=list(columns))
    return pyarrow.concat_tables(tables, promote_options="permissive").to_pandas()


def _evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """What a run was scored by again, or why it could not be."""
    for path in sorted(folder.glob("evaluations/*/result.json")):
        result = read_json(path) or {}
        facts = result.get("facts", {})
        keys = {"run": folder.name, "status": result.get("status", ""), "reason": result.get("reason", "")}
        keys |= {name: facts.get(name, "") for name in ("protocol", "part", "data_digest")}
        yield from list(_numbers(result.get("metrics", ()), keys)) or [keys | {"metric": "", "at": {}}]


def read(root: Path) -> Records:
    """Read the records below results/<suite>. Broken files are passed over; nothing is written."""

    runs: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    documents: list[pyarrow.Table] = []
    windows: list[pyarrow.Table] = []
    evaluations: list[dict[str, Any]] = []
    for folder, config in _latest(root):
        result = read_json(folder / "result.json") or {}
        row = _run_row(folder, config, result)
        runs.append(row)
        values.extend(_numbers(result.get("metrics", ()), {"run": folder.name}))
        keys = {key: row[key] for key in ("run", "arch", "variant", "seed")}
        curves.extend({**keys, **line} for line in read_curve(folder))
        documents.extend(_nats(folder / "documents.parquet", DOCUMENT_COLUMNS))
        windows.extend(_nats(folder / "windows.parquet", WINDOW_COLUMNS))
        evaluations.extend(_evaluations(folder))
    table = pd.DataFrame(runs, columns=list(RUN_COLUMNS))
    table["label"] = labels(table)
    curve = pd.DataFrame(curves, columns=[name for name in CURVE_COLUMNS if name != "label"])
    curve = curve.merge(table[["run", "label"]], on="run", how="left")
    return Records(
        runs=table,
        values=_table(values, VALUE_COLUMNS),
        curves=curve,
        documents=_joined(documents, DOCUMENT_COLUMNS),
        windows=_joined(windows, WINDOW_COLUMNS),
        evaluations=_table(evaluations, EVALUATION_COLUMNS),
        measures=_table(list(_measures(root)), MEASURE_COLUMNS),
        doctors=_doctors(root),
        checks=checked.read(root),
        references=_contents(root, "references/*.json"),
        searches=_contents(root, "tune/searches/*.json"),
    )


def _measures(root: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(root.glob("measure/*/*/result.json")):
        result, about = read_json(path), read_json(path.parent / "subject.json") or {}
        if result is None:
            continue
        keys = {
            "sitting": path.parent.parent.name, "machine": about.get("machine", ""), "subject": about.get("subject", ""),
            "arch": about.get("arch", ""), "twin": bool(about.get("twin", False)), "status": result["status"],
            "reason": result["reason"], "environment": about.get("environment", {}), "options": about.get("options", {}),
            "facts": about.get("facts", {}), "surroundings": about.get("surroundings", {}),
            "described": about.get("described", {}),
        }  # fmt: skip
        numbers = list(_numbers(result["metrics"], keys))
        yield from numbers or [keys | {"metric": "", "at": {}, "axis": "", "place": 0.0}]


def _contents(root: Path, pattern: str) -> list[dict[str, Any]]:
    return [one for path in sorted(root.glob(pattern)) if isinstance(one := read_json(path), dict)]


def _doctors(root: Path) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: read_json(path) for path in sorted(root.glob("measure/*/doctor.json"))}
    return {name: content for name, content in found.items() if isinstance(content, dict)}
