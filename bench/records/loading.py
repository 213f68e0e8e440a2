"""Load the folder of a run or a measurement, as far as its files are valid. Imports no torch."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.records.schema import CONFIG, NUMBER, PROVENANCE, SUBJECT, first_mismatch
from bench.records.validation import all_of_types, data_digest_error, headline_error, result_error
from bench.system.files import read_text

UNREADABLE = "unreadable"  # the status where result.json exists and cannot count
MAX_CONFIG_VALUES = 100_000  # of a YAML once its aliases are followed
MAX_DEPTH = 200  # levels of a YAML
TOP_LEVEL_KEY = re.compile(r"(?m)^(?=[^\s\-#])")
# several documents, or an anchor that another block may use
NOT_SEPARABLE = re.compile(r"(?m)^(---|%|\.\.\.)|(^|[\s\[{,])[&*!]\w")
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
