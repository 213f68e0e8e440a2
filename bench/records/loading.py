"""Load the folders of runs and measurements, and select those that count. Imports no torch."""

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.config.errors import UserError
from bench.config.identity import digest, variant
from bench.config.schema import run_from_dict
from bench.records.schema import CONFIG, NUMBER, PROVENANCE, SUBJECT, first_mismatch
from bench.records.validation import all_of_types, data_digest_error, headline_error, result_error
from bench.system.files import read_text

UNREADABLE = "unreadable"  # the status where result.json exists and cannot count
MAX_CONFIG_VALUES = 100_000  # of a YAML once its aliases are followed
MAX_DEPTH = 200  # levels of a YAML
TOP_LEVEL_KEY = re.compile(r"(?m)^(?=[^\s\-#])")
# several documents, or an anchor that another block may use
NOT_SEPARABLE = re.compile(r"(?m)^(---|%|\.\.\.)|(^|[\s\[{,])[&*!]\w")
ATTEMPT = re.compile(r"-[0-9a-f]{8}-a(\d+)$")  # the end of a folder's name
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built


class RunRecord(NamedTuple):
    """The record of a run. What is not valid is empty, with the reason."""

    config: dict[str, Any]
    provenance: dict[str, Any]
    result: dict[str, Any]
    status: str  # absent, unfinished, done, failed, skipped or unreadable
    reason: str = ""  # why it is unreadable, or why an unfinished one has no configuration
    damage: str = ""  # what is wrong with its provenance, where its result counts without


# --- files ---------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None where it is missing or broken."""
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None


def read_config(path: Path) -> Any:
    """Return the content of a YAML file; None where it is missing, broken or too large."""
    try:
        return _parse_yaml(read_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _parse_yaml(text: str) -> Any:
    """Parse a YAML text by top-level blocks: most recur in many runs, and are parsed once."""
    if NOT_SEPARABLE.search(text):
        return _load_yaml(text)
    tree: dict[str, Any] = {}
    for block in TOP_LEVEL_KEY.split(text):
        part = _parse_block(block) if block.strip() else {}
        if not isinstance(part, dict):
            return _load_yaml(text)
        tree |= part
    return tree


@lru_cache(maxsize=4096)
def _parse_block(text: str) -> Any:
    return _load_yaml(text)


def _load_yaml(text: str) -> Any:
    """Return the content of a YAML text. Raise ValueError where it is deep, or huge by aliases."""
    _check_depth(text)
    tree = yaml.load(text, Loader=LOADER)
    if _count_values(tree, {}) > MAX_CONFIG_VALUES:
        raise ValueError(f"it stands for more than {MAX_CONFIG_VALUES:,} values")
    return tree


def _check_depth(text: str) -> None:
    """Raise ValueError for a deep YAML, which would exhaust the stack of the loader in C."""
    brackets, longest = text.count("[") + text.count("{"), max(map(len, text.split("\n")))
    if brackets <= MAX_DEPTH and longest <= MAX_DEPTH:  # it cannot be deeper than both together
        return
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_DEPTH} levels")


def _count_values(tree: Any, counts: dict[int, int]) -> int:
    """Return how many values a tree has where each alias counts as what it stands for."""
    if not isinstance(tree, dict | list):
        return 1
    if id(tree) not in counts:
        children = tree.values() if isinstance(tree, dict) else tree
        counts[id(tree)] = 1 + sum(_count_values(child, counts) for child in children)
    return counts[id(tree)]


# --- records -------------------------------------------------------------------------------------


def load_record(folder: Path) -> RunRecord:
    """Load the record of a run, as far as it is valid."""
    config, provenance = read_config(folder / "config.yaml"), read_json(folder / "provenance.json")
    config_error = _in_file(folder, "config.yaml", first_mismatch(config, CONFIG))
    provenance_error = _in_file(folder, "provenance.json", first_mismatch(provenance, PROVENANCE))
    record = RunRecord(
        {} if config_error else config, {} if provenance_error else provenance, {}, UNREADABLE
    )
    result = read_json(folder / "result.json")
    if result is None:
        exists = (folder / "config.yaml").exists()
        status = "unfinished" if exists else "absent"
        return record._replace(status=status, reason=config_error if exists else "")
    error = _in_file(folder, "result.json", result_error(result)) or config_error
    if not error and result["status"] == "done":
        error = headline_error(result, record.config) or provenance_error
        error = error or data_digest_error(record.provenance)
    if error:
        return record._replace(reason=error)
    return record._replace(result=result, status=result["status"], damage=provenance_error)


def _in_file(folder: Path, name: str, error: str) -> str:
    if error and not (folder / name).exists():
        return f"{name} is missing"
    return f"{name}: {error}" if error else ""


def load_measurement(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return what was measured, its result, and what is wrong with either.

    A damaged measurement keeps what its folders' names say.
    """
    subject, result = read_json(folder / "subject.json"), read_json(folder / "result.json")
    error = _in_file(folder, "result.json", result_error(result))
    error = error or _in_file(folder, "subject.json", first_mismatch(subject, SUBJECT))
    starts = [] if error else (subject.get("surroundings") or {}).get("process_starts") or []
    if not all_of_types(starts, NUMBER):
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
