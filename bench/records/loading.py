"""Load the folders of runs and measurements, and select those that count. Imports no torch."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.errors import UserError
from bench.config.identity import digest, variant
from bench.config.schema import run_from_dict
from bench.records import validation
from bench.records.parsing import read_config as read_config
from bench.records.record_files import RecordFile, first_mismatch
from bench.records.schema import CONFIG, NUMBER, PROVENANCE, SUBJECT
from bench.system.checksums import remove_checksum
from bench.system.files import read_text

UNREADABLE = "unreadable"  # the status where result.json exists and cannot count
ATTEMPT = re.compile(r"-[0-9a-f]{8}-a(\d+)$")  # the end of a folder's name


class RunRecord(NamedTuple):
    """The record of a run. What is not valid is empty, with the reason."""

    config: dict[str, Any]
    provenance: dict[str, Any]
    result: dict[str, Any]
    status: str  # absent, unfinished, done, failed, skipped or unreadable
    reason: str = ""  # why it is unreadable, or why an unfinished one has no configuration
    damage: str = ""  # what is wrong with its provenance, where its result counts without


# --- files ---------------------------------------------------------------------------------------


def read_json(path: Path, required: bool = False) -> Any:
    """Return the content of a JSON file; None where it is missing, broken or changed.

    `required`: also where it has no checksum, as files of earlier versions.
    """
    try:
        value = json.loads(read_text(path))
        remove_checksum(value, required)
    except (OSError, ValueError, RecursionError):
        return None
    return value


# --- records -------------------------------------------------------------------------------------


def load_record(folder: Path) -> RunRecord:
    """Load the record of a run, as far as it is valid."""
    config, config_error = _checked(folder, "config.yaml", read_config, CONFIG)
    provenance, provenance_error = _checked(folder, "provenance.json", read_json, PROVENANCE)
    record = RunRecord(config, provenance, {}, UNREADABLE)
    if not (folder / "result.json").exists():
        exists = (folder / "config.yaml").exists()
        status = "unfinished" if exists else "absent"
        return record._replace(status=status, reason=config_error if exists else "")
    result = read_json(folder / "result.json")
    error = _in_file(folder, "result.json", validation.result_error(result)) or config_error
    if not error and (error := _changed(folder, "config.yaml", result)):
        record = record._replace(config={})  # it may be another run's
    if not error and result["status"] == "done":
        error = validation.headline_error(result, config) or provenance_error
        error = error or validation.data_digest_error(provenance)
    if error:
        return record._replace(reason=error)
    return record._replace(result=result, status=result["status"], damage=provenance_error)


def _checked(
    folder: Path, name: str, read: Callable[[Path], Any], file: RecordFile
) -> tuple[dict[str, Any], str]:
    """Return the content of a file, empty where it is not as it should be, and why."""
    content = read(folder / name)
    error = _in_file(folder, name, first_mismatch(content, file))
    return {} if error else content, error


def _changed(folder: Path, name: str, result: dict[str, Any]) -> str:
    return _in_file(folder, name, validation.changed_file_error(folder, name, result))


def _in_file(folder: Path, name: str, error: str) -> str:
    if error and not (folder / name).exists():
        return f"{name} is missing"
    return f"{name}: {error}" if error else ""


def load_measurement(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return what was measured, its result, and what is wrong with either.

    A damaged measurement keeps what its folders' names say.
    """
    subject, result = read_json(folder / "subject.json"), read_json(folder / "result.json")
    error = _in_file(folder, "result.json", validation.result_error(result))
    error = error or _in_file(folder, "subject.json", first_mismatch(subject, SUBJECT))
    starts = [] if error else (subject.get("surroundings") or {}).get("process_starts") or []
    if not validation.all_of_types(starts, NUMBER):
        error = "subject.json: surroundings.process_starts holds values that are not numbers"
    if not error:
        return subject, result, ""
    name = folder.name.removesuffix("-again")
    subject = {
        "machine": folder.parent.name.partition("-")[0],
        "arch": name.rpartition("-")[0] or name,
        "subject": name,
        "twin": name != folder.name,
    }
    return subject, {"status": UNREADABLE, "reason": error, "metrics": []}, error


# --- which of the attempts and copies of a run counts -------------------------------------------


class StoredRun(NamedTuple):
    """A folder that holds the record of a run."""

    folder: Path
    record: RunRecord
    attempt: int

    @property
    def first_name(self) -> str:
        """Return the folder's name of the run's first attempt."""
        return self.folder.name.removesuffix(f"-a{self.attempt}")

    @property
    def precedence(self) -> tuple[bool, int, int]:
        """Return what sorts the record that counts first."""
        return self.record.status != "done", -self.attempt, len(self.folder.name)


def _stored_runs(root: Path, kind: str) -> Iterator[StoredRun]:
    for folder in sorted(path for path in root.glob(f"{kind}/*") if path.is_dir()):
        record = load_record(folder)
        if record.status != "absent":
            numbered = ATTEMPT.search(folder.name)
            attempt = record.provenance.get("attempt") or int(numbered[1] if numbered else 1)
            yield StoredRun(folder, record, attempt)


def run_key(run: StoredRun) -> tuple[str, int]:
    """Return variant and seed: equal for all attempts and copies of a run, and for no other run."""
    config = run.record.config
    try:
        named = run.record.provenance.get("variant")
        return named or variant(run_from_dict(config)), config["seed"]
    except UserError:  # it names no learning rate, so it never had a variant
        return digest(config), config["seed"]


def _group_attempts(runs: Iterable[StoredRun]) -> list[list[StoredRun]]:
    """Return the attempts of each run whose configuration can be read, in the given order."""
    groups: dict[tuple[str, int], list[StoredRun]] = {}
    for run in runs:
        if run.record.config:
            groups.setdefault(run_key(run), []).append(run)
    return list(groups.values())


def select_runs(root: Path, kind: str = "runs") -> tuple[list[StoredRun], list[dict[str, str]]]:
    """Return the record of each run below results/<suite> that counts, and rows about the others.

    The last attempt that is done counts, else the last. Of copies of an attempt, the one with the
    shortest name counts, as copying makes names longer. Earlier attempts have no row: the one that
    counts was made to replace them.
    """
    runs = list(_stored_runs(root, kind))
    best, excluded = [], []
    for group in _group_attempts(runs):
        run = min(group, key=lambda one: one.precedence)
        best.append(run)
        others = [one for one in group if one is not run and one.attempt >= run.attempt]
        excluded += [_excluded_duplicate(other, run) for other in others]
    attempts = {run.first_name: run.attempt for run in best}
    for run in runs:
        if not run.record.config and run.attempt >= attempts.get(run.first_name, 0):
            excluded.append(excluded_row(run, UNREADABLE, run.record.reason))
    return best, excluded


def _excluded_duplicate(other: StoredRun, best: StoredRun) -> dict[str, str]:
    name, record = best.folder.name, other.record
    if other.attempt == best.attempt and record.status == best.record.status:
        return excluded_row(other, "copy", f"the same run as {name}, which counts: one run, once")
    reason = record.result.get("reason") or record.reason or "no reason was recorded"
    state = f"{name}, which is {best.record.status}, counts in its place"
    return excluded_row(other, record.status, f"{reason}; {state}")


def excluded_row(run: StoredRun, status: str, reason: str) -> dict[str, str]:
    """Return the row of a record that does not count, or not whole, and the command to rerun it."""
    rerun = "" if status in ("copy", "damaged") else run.record.provenance.get("rerun") or ""
    return {"run": run.folder.name, "status": status, "reason": reason, "rerun": rerun}
