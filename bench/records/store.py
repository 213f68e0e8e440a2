"""Records: one folder a run and one a measurement, append only, finished by a rename. Imports no torch."""

import contextlib
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.config.identity import run_name, variant, workload_id
from bench.config.schema import Run
from bench.records.loading import UNREADABLE, load_record, read_curve_lines
from bench.records.loading import read_json as read_json
from bench.records.metrics import Metric
from bench.records.schema import FINISHED
from bench.records.schema import SCHEMA as SCHEMA
from bench.system.files import atomic_write, fsync, remove_stale_temp

if TYPE_CHECKING:
    import pandas as pd


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with atomic_write(path) as neighbour:
        neighbour.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


# --- where a run lies, and how far it is ------------------------------------------------------------------------------


def attempt_folders(run: Run) -> list[Path]:
    """The folders of a run in order: the first, then -a2, -a3, …"""
    first = Path(run.results) / run.suite / "runs" / run_name(run)
    numbered = (
        path
        for path in first.parent.glob(f"{first.name}-a*")
        if path.name.rpartition("-a")[2].isdigit()
    )
    later = sorted(numbered, key=lambda path: int(path.name.rpartition("-a")[2]))
    return [path for path in (first, *later) if path.is_dir()] or [first]


def run_status(folder: Path) -> str:
    """done, failed or skipped where there is a result, unreadable where that is damaged; else unfinished or absent."""
    return load_record(folder).status


def read_result(folder: Path) -> dict[str, Any]:
    """The result of a run; where it has none, or a damaged one, an empty one with the reason."""
    seen = load_record(folder)
    known = seen.result
    return {
        "metrics": [],
        **known,
        "reason": known.get("reason") or seen.reason,
        "facts": known.get("facts") or {},
    }


def select_folder(run: Run, began: float = math.inf) -> tuple[Path, bool]:
    """The folder that this run belongs into, and whether it has to be run (again).

    A run that could not even start lost nothing: the same folder is used again. One that was finished after the command
    `began` (in seconds since the epoch), by whichever command, is not run again by it. A damaged record stays as it is,
    for what it still holds, and is no result: the run is done again beside it.
    """
    last = attempt_folders(run)[-1]
    state = run_status(last)
    if state in FINISHED and (last / "result.json").stat().st_mtime > began:
        return last, False
    if state in ("absent", "unfinished") or not read_result(last)["facts"].get("started", True):
        return last, True
    if state == UNREADABLE or run.again == "all" or (run.again == "failed" and state == "failed"):
        return last.parent / f"{run_name(run)}-a{len(attempt_folders(run)) + 1}", True
    return last, False


# --- writing ----------------------------------------------------------------------------------------------------------


def create_record(
    folder: Path, run: Run, environment: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Open a run's record: what will run, where, and from which sources. Taking a run up again keeps what stands there."""
    folder.mkdir(parents=True, exist_ok=True)
    attempt = int(folder.name.rpartition("-a")[2]) if folder.name != run_name(run) else 1
    if attempt > 1 and run.again == "failed" and run_status(folder) == "absent":
        _inherit_training_state(
            folder.parent / (run_name(run) + (f"-a{attempt - 1}" if attempt > 2 else "")), folder
        )
    before = load_record(folder).provenance.get("starts") or []
    start = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node(),
        "process": os.getpid(),
    }
    names = {
        "variant": variant(run),
        "subject": workload_id(run),
        "attempt": attempt,
        "starts": [*before, start],
    }
    (folder / "result.json").unlink(missing_ok=True)
    write_json(folder / "environment.json", environment)
    write_json(folder / "provenance.json", {**provenance, **names})
    write_text(
        folder / "config.yaml", yaml.safe_dump(asdict(run), sort_keys=False, allow_unicode=True)
    )


def _inherit_training_state(failed: Path, folder: Path) -> None:
    """Hand the curve and the training state of a failed attempt to the next: hours of training need not be lost with it."""
    states = sorted((failed / "checkpoint").glob("training*.pt"))
    if run_status(failed) != "failed" or not states:
        return
    if (failed / "curve.jsonl").exists():
        write_text(folder / "curve.jsonl", (failed / "curve.jsonl").read_text(encoding="utf-8"))
    (folder / "checkpoint").mkdir(exist_ok=True)
    for path in states:
        os.replace(path, folder / "checkpoint" / path.name)


def add_provenance(folder: Path, digests: Mapping[str, str], data: Mapping[str, Any]) -> None:
    """Add what a run found out about its data once it was read."""
    provenance = load_record(folder).provenance
    provenance["digests"] = {**(provenance.get("digests") or {}), **digests}
    write_json(folder / "provenance.json", provenance | {"data": dict(data)})


def append_curve(folder: Path, row: Mapping[str, Any]) -> None:
    """Append one line to the training curve."""
    with open(folder / "curve.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_parquet(path: Path, table: "pd.DataFrame | None") -> None:
    """Write a table as a parquet file, whole or not at all; None: there is none to write."""
    if table is not None:
        with atomic_write(path) as neighbour:
            table.to_parquet(neighbour, index=False)


def flush_curve(folder: Path) -> None:
    """Have the curve on the disk before a checkpoint counts on it."""
    with contextlib.suppress(FileNotFoundError):  # nothing was logged yet
        fsync(folder / "curve.jsonl")


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The lines of a curve; a line that a kill cut short is left out."""
    return read_curve_lines(folder / "curve.jsonl")[0]


def truncate_curve(folder: Path, step: int) -> None:
    """Keep the lines up to `step`: a run that is taken up again goes on from its checkpoint."""
    rows = [row for row in read_curve(folder) if row["step"] <= step]
    write_text(folder / "curve.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def remove_training_state(folder: Path) -> None:
    """Remove what a finished run no longer needs: its training state, what was set aside, what was left half-written."""
    for place in (folder, folder / "checkpoint"):
        remove_stale_temp(place)
    for path in (folder / "checkpoint").glob("training*.pt*"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_result(
    folder: Path,
    status: str,
    reason: str = "",
    metrics: Iterable[Metric] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Close a record. result.json is written last and by rename: no result file, no result."""
    assert status in FINISHED
    rows = [metric.as_json() for metric in metrics]
    write_json(
        folder / "result.json",
        {
            "schema": SCHEMA,
            "status": status,
            "reason": reason,
            "facts": dict(facts or {}),
            "metrics": rows,
        },
    )
