"""Read the files of one run's folder as rows of tables. Imports no torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from pyarrow import parquet

from bench.config.schema import ControlConfig, is_control
from bench.records.loading import RunRecord, StoredRun, read_json, run_key
from bench.records.record_files import shorten
from bench.records.store import read_curve_lines
from bench.records.validation import (
    changed_file_error,
    headline_error,
    result_error,
    saliency_error,
)
from bench.system.checksums import CHANGED
from bench.system.files import read_text

RUN_COLUMNS = (
    "run folder arch family variant subject label data data_digest order_digest tokenizer size "
    "objective protocol part seed facts control status reason rerun precision kernels text "
    "environment provenance config"
).split()
DOCUMENT_COLUMNS = "document bytes tokens nats".split()
WINDOW_COLUMNS = "window bytes tokens nats".split()
NATS_FILES = {"documents.parquet": DOCUMENT_COLUMNS, "windows.parquet": WINDOW_COLUMNS}
UNFINISHED = "not finished: the same command resumes it"


class RunTables(NamedTuple):
    """The rows of one run, and the files of its folder that are left out, each with the reason."""

    run: dict[str, Any]
    values: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    documents: list[pyarrow.Table]  # one, or none
    windows: list[pyarrow.Table]
    evaluations: list[dict[str, Any]]
    saliency: list[dict[str, Any]]  # what saliency.json holds, where there is one
    damage: list[str]


def read_run(run: StoredRun) -> RunTables:
    """Read the tables of a run. A damaged file other than its result is left out alone."""
    folder, record = run.folder, run.record
    damage = [record.damage] if record.damage else []
    row = run_row(run)
    row["environment"] = _read_environment(folder / "environment.json", damage)
    changed = _changed_files(run, damage)
    row["text"] = "" if "text.txt" in changed else _read_text(folder / "text.txt", damage)
    keys = {key: row[key] for key in ("run", "arch", "variant", "seed")}
    documents, windows = (
        [] if name in changed else _read_nats(folder / name, columns, damage)
        for name, columns in NATS_FILES.items()
    )
    return RunTables(
        row,
        list(metric_entries(record.result.get("metrics", ()), {"run": folder.name})),
        [] if "curve.jsonl" in changed else [keys | line for line in _read_curve(run, damage)],
        documents,
        windows,
        list(_evaluation_entries(folder, damage)),
        [{**keys, **content} for content in _read_saliency(folder / "saliency.json", damage)],
        damage,
    )


def _read_curve(run: StoredRun, damage: list[str]) -> list[dict[str, Any]]:
    rows, damaged = read_curve_lines(run.folder / "curve.jsonl")
    if damaged and run.record.status == "done":  # resuming repairs that of an unfinished one
        lines = "line is" if damaged == 1 else "lines are"
        damage.append(f"{damaged} {lines} left out of curve.jsonl (no logged step)")
    return rows


def _changed_files(run: StoredRun, damage: list[str]) -> list[str]:
    """Return the files of a finished run that are not as they were written."""
    files = run.record.result.get("files") or {}
    changed = [name for name in files if changed_file_error(run.folder, name, run.record.result)]
    damage += [f"{name} is left out ({CHANGED})" for name in changed]
    return changed


def run_row(run: StoredRun) -> dict[str, Any]:
    """Return what a record says of its run, by RUN_COLUMNS."""
    record = run.record
    config, provenance, result = record.config, record.provenance, record.result
    names, facts = config["names"], result.get("facts") or {}
    digests = provenance.get("digests") or {}
    return {
        "run": run.folder.name,
        "folder": str(run.folder),
        "family": config["arch"].get("family") or "",
        "variant": run_key(run)[0],
        "label": names["arch"],
        "tokenizer": config["data"]["tokenizer"],
        "objective": facts.get("objective") or config["objective"]["kind"],
        "seed": config["seed"],
        "facts": facts,
        "control": _is_control(config),
        "status": record.status,
        "reason": _reason(record),
        "provenance": provenance,
        "config": config,
        **_texts(names, ("arch", "data", "size")),
        **_texts(facts, ("protocol", "part", "precision", "kernels")),
        **_texts(provenance, ("subject", "rerun")),
        **{f"{name}_digest": digests.get(name) or "" for name in ("data", "order")},
    }


def _reason(record: RunRecord) -> str:
    unfinished = UNFINISHED if record.status == "unfinished" else ""
    return record.result.get("reason") or record.reason or unfinished


def _is_control(config: Mapping[str, Any]) -> bool:
    control = config.get("control") or {}
    options = ControlConfig(control.get("arch") or "", control.get("seeds") or [])
    return is_control(options, config["names"]["arch"], config["seed"])


def _texts(tree: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    return {key: tree.get(key) or "" for key in keys}


def metric_entries(
    metrics: Iterable[Mapping[str, Any]], keys: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield an entry per metric, with its samples as lists.

    A metric without samples stays as one row without a value, as its note says why.
    """
    for metric in metrics:
        values = metric["values"] or [None]
        rounds = metric.get("rounds") or range(len(values))
        count = min(len(values), len(rounds))
        at = metric.get("at") or {}
        axis, place = next(iter(at.items())) if len(at) == 1 else (",".join(sorted(at)), 0.0)
        yield {
            **keys,
            "metric": metric["name"],
            **{name: metric.get(name) or "" for name in ("unit", "better", "note")},
            "at": at,
            "axis": axis,
            "place": float(place),
            "value": list(values)[:count],
            "round": list(rounds)[:count],
        }


def _evaluation_entries(folder: Path, damage: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the numbers of further evaluations of a run, or why there are none."""
    for path in sorted(folder.glob("evaluations/*/result.json")):
        result = read_json(path)
        error = result_error(result)
        if not error and result["status"] == "done":
            error = headline_error(result, {})
        if error:
            damage.append(f"{path.relative_to(folder)} is left out ({error})")
            continue
        facts = result.get("facts") or {}
        keys = _texts(facts, ("protocol", "part", "data_digest"))
        keys |= {"run": folder.name} | _texts(result, ("status", "reason"))
        yield from list(metric_entries(result["metrics"], keys)) or [
            keys | {"metric": "", "at": {}}
        ]


def _read_nats(path: Path, columns: Sequence[str], damage: list[str]) -> list[pyarrow.Table]:
    """Return a table of the nats per document or window, where there are any.

    They stay in arrow's format until those of all runs are joined: ten times as fast.
    """
    kinds = {"nats": pyarrow.float64(), "bytes": pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.int64())) for name in columns])
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False).select(columns).cast(schema)
        if not np.isfinite(table["nats"].to_numpy()).all():
            raise ValueError("nats that are not finite")
    except FileNotFoundError:
        return []
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        damage.append(f"{path.name} is left out ({str(error).splitlines()[0]})")
        return []
    runs = pyarrow.array([path.parent.name] * len(table), pyarrow.string())
    return [table.append_column("run", runs)]


def _read_text(path: Path, damage: list[str]) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        damage.append(f"{path.name} is left out ({error})")
        return ""


def _read_saliency(path: Path, damage: list[str]) -> Iterator[dict[str, Any]]:
    if path.exists():
        content = read_json(path)
        if error := saliency_error(content):
            damage.append(f"{path.name} is left out ({error})")
        else:
            yield content


def _read_environment(path: Path, damage: list[str]) -> dict[str, Any]:
    content = read_json(path)
    if isinstance(content, dict):
        return content
    if path.exists():
        damage.append(f"{path.name} is left out (it is {shorten(content)}, not a mapping)")
    return {}
