"""Write records: a folder per run, append only, finished by a rename. Imports no torch."""

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

from bench.config.errors import UserError
from bench.config.identity import record_group, run_name, variant, workload_id
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK
from bench.records.loading import UNREADABLE, load_record
from bench.records.loading import read_json as read_json
from bench.records.metrics import Metric
from bench.records.schema import FINISHED, NUMBER, SCHEMA
from bench.records.source import training_source
from bench.records.validation import all_of_types, changed_file_error
from bench.system.checksums import checked_json, hash_files
from bench.system.files import atomic_write, read_text, remove_stale_temp

if TYPE_CHECKING:
    import pandas as pd


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as neighbour:
        neighbour.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all; an object has a checksum of itself."""
    write_text(path, checked_json(value))


def write_parquet(path: Path, table: "pd.DataFrame | None") -> None:
    """Write a table whole or not at all; nothing for None."""
    if table is not None:
        with atomic_write(path) as neighbour:
            table.to_parquet(neighbour, index=False)


# --- where a run's record lies, and its status ---------------------------------------------------


def attempt_folders(run: Run) -> list[Path]:
    """Return the folders of a run in order: the first, then -a2, -a3 and so on."""
    first = Path(run.results) / run.suite / record_group(run) / run_name(run)
    numbers = {_attempt(path): path for path in first.parent.glob(f"{first.name}-a*")}
    later = [numbers[number] for number in sorted(numbers) if number]
    return [path for path in (first, *later) if path.is_dir()] or [first]


def _attempt(folder: Path) -> int:
    """Return the number at the end of an attempt's folder name; 0 where there is none."""
    number = folder.name.rpartition("-a")[2]
    return int(number) if number.isdigit() else 0


def run_status(folder: Path) -> str:
    """Return absent, unfinished, done, failed, skipped, or unreadable for a damaged record."""
    return load_record(folder).status


def read_result(folder: Path) -> dict[str, Any]:
    """Return the result of a run; an empty one with the reason where there is none."""
    record = load_record(folder)
    result = {"metrics": [], **record.result}
    reason = record.result.get("reason") or record.reason
    return result | {"reason": reason, "facts": record.result.get("facts") or {}}


def select_folder(run: Run, began: float = math.inf, data_digest: str = "") -> tuple[Path, bool]:
    """Return the folder of a run, and whether it has to be run (again).

    A run that could not start uses its folder again. One that another command finished after this
    one `began` (seconds since the epoch) is not run again. A damaged record, and one of data with
    another digest, stays as it is, and the run is repeated beside it.
    """
    folders = attempt_folders(run)
    last, status = folders[-1], run_status(folders[-1])
    if status in ("absent", "unfinished") or not read_result(last)["facts"].get("started", True):
        return last, True
    changed = has_other_data(last, data_digest)
    if status in FINISHED and not changed and (last / "result.json").stat().st_mtime > began:
        return last, False
    if changed or status == UNREADABLE or run.again == "all" or run.again == status == "failed":
        return last.parent / f"{run_name(run)}-a{len(folders) + 1}", True
    return last, False


def has_other_data(folder: Path, data_digest: str) -> bool:
    """Return whether a record is of data with another digest; False where either is not known."""
    recorded = (load_record(folder).provenance.get("digests") or {}).get("data")
    return bool(data_digest and recorded and recorded != data_digest)


def require_unchanged(folder: Path, name: str) -> None:
    """Raise UserError where a file is not as it was when the result of its folder was written."""
    results = (read_json(folder / one) for one in ("result.json", "numbers.json"))
    if error := changed_file_error(folder, name, next(filter(None, results), {})):
        raise UserError(
            f"{folder / name}: {error}: copy it from where it came, or train again with again=all",
            "unreadable-file",
        )


# --- the life of a record ------------------------------------------------------------------------


def create_record(
    folder: Path, run: Run, environment: Mapping[str, Any], provenance: Mapping[str, Any]
) -> None:
    """Create or resume a run's record: what will run, where, and from which sources."""
    folder.mkdir(parents=True, exist_ok=True)
    attempt = _attempt(folder) if folder.name != run_name(run) else 1
    if attempt > 1 and run.again == "failed" and run_status(folder) == "absent":
        _inherit_training_state(_previous_attempt(folder, run, attempt), folder)
    source = training_source(str(run.arch.get("_target_", "")), run.task.kind != NO_TASK)
    about = {
        "variant": variant(run),
        "subject": workload_id(run),
        "attempt": attempt,
        "starts": [*(load_record(folder).provenance.get("starts") or []), _this_process()],
        "digests": {"source": source, **provenance.get("digests", {})},
    }
    (folder / "result.json").unlink(missing_ok=True)
    write_json(folder / "environment.json", environment)
    write_json(folder / "provenance.json", {**provenance, **about})
    config = yaml.safe_dump(asdict(run), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", config)


def _this_process() -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"at": now, "host": platform.node(), "process": os.getpid()}


def _previous_attempt(folder: Path, run: Run, attempt: int) -> Path:
    return folder.parent / (run_name(run) + (f"-a{attempt - 1}" if attempt > 2 else ""))


def _inherit_training_state(failed: Path, folder: Path) -> None:
    """Move the training state of a failed attempt to the next, to resume from."""
    states = sorted((failed / "checkpoint").glob("training*.pt"))
    if run_status(failed) != "failed" or not states:
        return
    (folder / "checkpoint").mkdir(exist_ok=True)
    for path in states:
        os.replace(path, folder / "checkpoint" / path.name)


def add_provenance(folder: Path, digests: Mapping[str, str], data: Mapping[str, Any]) -> None:
    """Add the digests and the facts of the data, once it was read."""
    provenance = load_record(folder).provenance
    provenance["digests"] = {**(provenance.get("digests") or {}), **digests}
    write_json(folder / "provenance.json", provenance | {"data": dict(data)})


def append_curve(folder: Path, row: Mapping[str, Any]) -> str:
    """Append a row to a curve, and return its line."""
    line = json.dumps(row) + "\n"
    with open(folder / "curve.jsonl", "a", encoding="utf-8") as file:
        file.write(line)
    return line


def read_curve_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the logged steps of a curve, and how many of its lines are damaged."""
    try:
        lines = read_text(path, errors="replace").splitlines()
    except OSError:
        return [], 0
    rows = [row for line in lines if (row := _parse_step(line))]
    return rows, len(lines) - len(rows)


def _parse_step(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    valid = isinstance(row, dict) and "step" in row and all_of_types(row.values(), NUMBER)
    return row if valid else None


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a curve, without lines that a kill cut short."""
    return read_curve_lines(folder / "curve.jsonl")[0]


def remove_training_state(folder: Path) -> None:
    """Remove what a finished run no longer needs: training state and partly written files."""
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
    """Finish a record. result.json is written last: a record without it has no result."""
    assert status in FINISHED
    result = {"schema": SCHEMA, "status": status, "reason": reason, "facts": dict(facts or {})}
    result |= {"metrics": [metric.as_json() for metric in metrics]}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", result | {"files": hash_files(folder)})
