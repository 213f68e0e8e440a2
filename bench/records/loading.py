"""Records as they come from the disk: sound, or a short reason why not. Imports no torch."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.records.schema import (
    CONFIG,
    NUMBER,
    PROVENANCE,
    SUBJECT,
    all_of_types,
    data_digest_error,
    first_mismatch,
    headline_error,
    result_error,
)

UNREADABLE = "unreadable"  # there is a result, and it is not one that this program writes
TOP_LEVEL_KEY = re.compile(r"(?m)^(?=[^\s\-#])")  # where a key of the top level begins
NOT_SEPARABLE = re.compile(
    r"(?m)^(---|%|\.\.\.)|(^|[\s\[{,])[&*!]\w"
)  # several documents, or a value that another block defines
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built


class RunRecord(NamedTuple):
    """A run's record. What is not sound is empty, and has the reason."""

    config: dict[str, Any]
    provenance: dict[str, Any]
    result: dict[str, Any]
    status: str  # absent, unfinished, done, failed, skipped or unreadable
    reason: str  # why it is unreadable, or why an unfinished one has no configuration
    aside: str  # what is wrong with its provenance, where its result stands without


# --- files ------------------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _read_config(path: Path) -> Any:
    """The content of a configuration; None where it is missing or broken."""
    try:
        return _parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _parse_yaml(text: str) -> Any:
    """A YAML text. Its top-level blocks are mostly alike from run to run: each is parsed once, and shared by all that hold it."""
    if NOT_SEPARABLE.search(text):
        return yaml.load(text, Loader=LOADER)
    whole: dict[str, Any] = {}
    for block in TOP_LEVEL_KEY.split(text):
        found = _parse_block(block) if block.strip() else {}
        if not isinstance(found, dict):
            return yaml.load(text, Loader=LOADER)
        whole |= found
    return whole


@lru_cache(maxsize=4096)
def _parse_block(text: str) -> Any:
    return yaml.load(text, Loader=LOADER)


def read_curve_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The logged steps of a curve, and how many of its lines are none: a kill cut them short, or something spoiled them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], 0
    rows = [row for line in lines if _is_step(row := _parse_line(line))]
    return rows, len(lines) - len(rows)


def _parse_line(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_step(row: Any) -> bool:
    return isinstance(row, dict) and "step" in row and all_of_types(row.values(), NUMBER)


# --- records ----------------------------------------------------------------------------------------------------------


def load_record(folder: Path) -> RunRecord:
    """A run's record, as far as it is sound."""
    config, provenance = _read_config(folder / "config.yaml"), read_json(folder / "provenance.json")
    unlike = [
        _in_file("config.yaml", folder, first_mismatch(config, CONFIG)),
        _in_file("provenance.json", folder, first_mismatch(provenance, PROVENANCE)),
    ]
    configured, proven = (
        {} if wrong else tree for wrong, tree in zip(unlike, (config, provenance), strict=True)
    )
    result = read_json(folder / "result.json")
    if result is None:
        there = (folder / "config.yaml").exists()
        return RunRecord(
            configured,
            proven,
            {},
            "unfinished" if there else "absent",
            unlike[0] if there else "",
            "",
        )
    done = isinstance(result, dict) and result.get("status") == "done"
    wrong = result_error(result)
    wrong = (f"result.json: {wrong}" if wrong else "") or unlike[0]
    if done and not wrong:
        wrong = headline_error(result, configured) or unlike[1] or data_digest_error(proven)
    if wrong:
        return RunRecord(configured, proven, {}, UNREADABLE, wrong, "")
    return RunRecord(configured, proven, result, str(result["status"]), "", unlike[1])


def _in_file(name: str, folder: Path, wrong: str) -> str:
    if wrong and not (folder / name).exists():
        return f"{name} is missing"
    return f"{name}: {wrong}" if wrong else ""


def load_measurement(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What was measured, what came of it, and what is wrong with either. A damaged one keeps what its folders' names say."""
    about, result = read_json(folder / "subject.json"), read_json(folder / "result.json")
    wrong = _in_file("result.json", folder, result_error(result)) or _in_file(
        "subject.json", folder, first_mismatch(about, SUBJECT)
    )
    starts = [] if wrong else (about.get("surroundings") or {}).get("process_starts") or []
    if not all_of_types(starts, NUMBER):
        wrong = "subject.json: surroundings.process_starts holds something else than numbers"
    if not wrong:
        return about, result, ""
    name = folder.name.removesuffix("-again")
    said = {
        "machine": folder.parent.name.partition("-")[0],
        "arch": name.rpartition("-")[0] or name,
        "subject": name,
    }
    return (
        {**said, "twin": name != folder.name},
        {"status": UNREADABLE, "reason": wrong, "metrics": []},
        wrong,
    )
