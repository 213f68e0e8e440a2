"""Read fine-tuned runs as tidy tables. Imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config.errors import UserError
from bench.config.identity import digest, identity_fields
from bench.config.schema import Run, run_from_dict
from bench.config.task_schema import arm_name
from bench.records.finished import open_finished
from bench.records.loading import (
    UNREADABLE,
    StoredRun,
    excluded_row,
    load_record,
    read_json,
    select_runs,
)
from bench.records.run_tables import run_row
from bench.records.validation import changed_file_error

TASK_COLUMNS = (
    "run folder arch task kind start arm examples seed control group status reason data_digest "
    "order_digest base base_bits_per_byte encoder trained_on recipe"
).split()
TASK_NUMBER_COLUMNS = (
    "run label arch task kind start arm examples seed control metric unit better value note"
).split()
EXAMPLE_COLUMNS = "run example digest text target hit nats bytes prediction".split()
# what may differ between the rows of a table, and between tables of one task
OWN_KEYS = {"train.learning_rate", "task.start", "task.scratch_steps", "task.examples"}
STALE_BASE = "its base {} was trained again since, with other weights: fine-tune again"


@dataclass(frozen=True)
class TaskTables:
    """What runs were fine-tuned for."""

    runs: pd.DataFrame  # a row per record that counts
    numbers: pd.DataFrame  # a row per number of a finished one
    examples: pd.DataFrame  # a row per scored test example of a finished one
    baselines: list[dict[str, Any]]  # of each task and number of training examples
    excluded: list[dict[str, str]]  # records that do not count


def read_tasks(root: Path) -> TaskTables:
    """Read the records below results/<suite>/tasks; those of replaced bases do not count."""
    selected, excluded = select_runs(root, "tasks")
    rows, numbers = list[dict[str, Any]](), list[dict[str, Any]]()
    examples = list[pd.DataFrame]()
    for run in selected:
        row = _task_row(run)
        if row["status"] == "done" and (reason := _replaced_base(run)):
            excluded.append(excluded_row(run, "stale", reason))
            continue
        if row["status"] not in ("done", "skipped"):
            excluded.append(excluded_row(run, row["status"], row["reason"]))
        rows.append(row)
        if row["status"] == "done":
            numbers += _number_rows(run, row)
            examples += _examples(run, excluded)
    return TaskTables(
        pd.DataFrame(rows, columns=TASK_COLUMNS),
        pd.DataFrame(numbers, columns=TASK_NUMBER_COLUMNS),
        pd.concat(examples, ignore_index=True)
        if examples
        else pd.DataFrame(columns=EXAMPLE_COLUMNS),
        list(_read_baselines(root, excluded)),
        excluded,
    )


def _task_row(run: StoredRun) -> dict[str, Any]:
    record, config = run.record, run_from_dict(run.record.config)
    recipe, facts = _recipe(config), record.result.get("facts") or {}
    return {
        **run_row(run),
        "task": config.names["task"],
        **{key: getattr(config.task, key) for key in ("kind", "start", "examples")},
        "arm": arm_name(config.task),
        "recipe": recipe,
        "group": digest([recipe, (record.provenance.get("digests") or {}).get("data")]),
        "trained_on": (facts.get("examples") or {}).get("train") or 0,
        **_base_result(run),
    }


def _recipe(config: Run) -> dict[str, Any]:
    """Return what has to be equal for fine-tuned runs to be compared, by dotted key."""
    keys = {
        f"{group}.{key}": value
        for group in ("task", "size", "data", "train", "optimizer")
        for key, value in identity_fields(getattr(config, group)).items()
    }
    keys["task.decode"] = config.task.decode  # which examples are scored
    return {key: value for key, value in keys.items() if key not in OWN_KEYS}


def _bases(run: StoredRun) -> dict[str, Any]:
    return (run.record.provenance.get("bases") or {}).get("base") or {}


def _base_folder(run: StoredRun) -> Path:
    """Return where the base is: in the suite, which may have been moved, else where it was."""
    base, suite = _bases(run), run.folder.parent.parent
    for group in ("runs", "task_bases"):
        if (folder := suite / group / Path(base["run"]).name).is_dir():
            return folder
    return Path(base["folder"])


def _base_result(run: StoredRun) -> dict[str, Any]:
    """Return the name, bits per byte and kind of the run that a fine-tuning starts from."""
    base = _bases(run)
    if not base:
        return {"base": "", "base_bits_per_byte": None, "encoder": None}
    result = load_record(_base_folder(run)).result
    values = {one["name"]: one["values"] for one in result.get("metrics") or []}
    objective = str((result.get("facts") or {}).get("objective", ""))
    bits = values.get("bits_per_byte") or values.get("left_to_right_bits_per_byte") or [None]
    return {
        "base": base["run"],
        "base_bits_per_byte": bits[0],
        "encoder": objective.startswith("masked") if objective else None,
    }


def _replaced_base(run: StoredRun) -> str:
    """Return why a fine-tuning no longer counts: its base has other weights now."""
    base = _bases(run)
    if not base:
        return ""
    try:
        current = open_finished(_base_folder(run)).weights_sha256
    except UserError:  # the folder was moved or its weights removed: nothing is known against it
        return ""
    return "" if current == base["weights"] else STALE_BASE.format(base["run"])


def _number_rows(run: StoredRun, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    keys = {name: row[name] for name in TASK_NUMBER_COLUMNS if name in row}
    for entry in run.record.result["metrics"]:
        about = {name: entry.get(name) or "" for name in ("unit", "better", "note")}
        for value in entry["values"] or [None]:
            yield {**keys, "label": row["arch"], "metric": entry["name"], **about, "value": value}


def _examples(run: StoredRun, excluded: list[dict[str, str]]) -> list[pd.DataFrame]:
    name = "examples.parquet"
    try:
        if error := changed_file_error(run.folder, name, run.record.result):
            raise ValueError(error)
        table = pd.read_parquet(run.folder / name)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = f"{name} is left out ({error}). The rest of the record counts"
        excluded.append(excluded_row(run, "damaged", reason))
        return []
    return [table.assign(run=run.folder.name).reindex(columns=EXAMPLE_COLUMNS)]


def _read_baselines(root: Path, excluded: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for path in sorted((root / "references" / "tasks").glob("*.json")):
        content = read_json(path)
        if isinstance(content, dict) and isinstance(content.get("lines"), list):
            yield content
        else:
            row = {"run": str(path.relative_to(root)), "status": UNREADABLE, "rerun": ""}
            excluded.append(row | {"reason": "it cannot be read"})
