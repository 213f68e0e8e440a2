"""Read what runs learned from preferences as tidy tables. Imports no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.identity import digest, nested_fields
from bench.config.schema import run_from_dict
from bench.records.loading import StoredRun, excluded_row, read_json, select_runs
from bench.records.run_tables import run_row
from bench.records.validation import changed_file_error

STAGE_COLUMNS = (
    "run folder arch data seed control variant group status reason labels_from gold reward_arch"
).split()
PART_COLUMNS = "part kind method beta labels flip corrected shaping".split()
TEXT_COLUMNS = "run part kind update n prompt text gold proxy kl".split()
SHOWN_PROMPTS = 3
KEYS = "run arch data seed control variant group".split()
NUMBER_COLUMNS = [
    *KEYS, *PART_COLUMNS, *"update n metric unit better value standard_error samples".split(),
]  # fmt: skip


@dataclass(frozen=True)
class PreferenceTables:
    """What runs learned from preferences."""

    stages: pd.DataFrame  # a row per record
    parts: pd.DataFrame  # a row per part of a record, with its status and reason
    numbers: pd.DataFrame  # a row per number; `values` holds its samples, by prompt or repeat
    texts: pd.DataFrame  # what was written to a few held-out prompts, by the start and at the end
    excluded: list[dict[str, str]]  # records that do not count


def read_preferences(root: Path) -> PreferenceTables:
    """Read the records below results/<suite>/preferences."""
    selected, excluded = select_runs(root, "preferences")
    stages = [_stage_row(run) for run in selected]
    parts, numbers = [], []
    for run, stage in zip(selected, stages, strict=True):
        keys, listed = {key: stage[key] for key in KEYS}, _listed_parts(run)
        parts += [keys | _part_keys(part) | _outcome(part) for part in listed]
        numbers += list(_number_rows(run, keys, listed))
        if stage["status"] not in ("done", "skipped"):
            excluded.append(excluded_row(run, stage["status"], stage["reason"]))
    return PreferenceTables(
        pd.DataFrame(stages, columns=STAGE_COLUMNS),
        pd.DataFrame(parts, columns=[*KEYS, *PART_COLUMNS, "status", "reason"]),
        pd.DataFrame(numbers, columns=[*NUMBER_COLUMNS, "values"]),
        _read_texts(selected, excluded),
        excluded,
    )


def _listed_parts(run: StoredRun) -> list[dict[str, Any]]:
    facts = run.record.result.get("facts") or {}
    return [part for part in facts.get("parts") or [] if isinstance(part, dict)]


def _read_texts(runs: Sequence[StoredRun], excluded: list[dict[str, str]]) -> pd.DataFrame:
    """Return the first response of a few prompts, by the start, the policies and best of n."""
    tables = [
        _part_texts(run, str(part.get("name")), excluded).assign(
            run=run.folder.name, part=part.get("name"), kind=part.get("kind")
        )
        for run in runs
        for part in _listed_parts(run)
        if part.get("kind") in ("policy", "best_of")
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return table.reindex(columns=TEXT_COLUMNS)


def _part_texts(run: StoredRun, part: str, excluded: list[dict[str, str]]) -> pd.DataFrame:
    folder, name = run.folder / "parts" / part, "looks.parquet"
    try:
        if error := changed_file_error(folder, name, read_json(folder / "numbers.json") or {}):
            raise ValueError(error)
        looks = pd.read_parquet(folder / name)
    except FileNotFoundError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        reason = f"{name} of {part} is left out ({error}). The rest of the record counts"
        excluded.append(excluded_row(run, "damaged", reason))
        return pd.DataFrame()
    if "update" in looks:
        looks = looks[looks["update"].isin([0, looks["update"].max()])]
    looks = looks.drop_duplicates(["prompt", *looks.columns.intersection(["update"])])
    return looks[looks["prompt"].isin(looks["prompt"].unique()[:SHOWN_PROMPTS])]


def _stage_row(run: StoredRun) -> dict[str, Any]:
    preference = run.record.config.get("preference") or {}
    labels = preference.get("path")
    return run_row(run) | {
        "group": _group(run),
        "labels_from": labels or "annotator",
        "gold": "" if labels else preference.get("gold", ""),
        "reward_arch": (preference.get("reward") or {}).get("arch") or "",
    }


def _group(run: StoredRun) -> str:
    """Return the digest of what has to be equal for two stages to be compared."""
    config = run.record.config
    digests = run.record.provenance.get("digests") or {}
    keys = {key: config.get(key) for key in ("data", "size", "train")}
    keys["train"] = {**(keys["train"] or {}), "learning_rate": None}
    preference = run_from_dict(config).preference  # a key that came later counts with its default
    keys["preference"] = nested_fields(preference) | {"reward_arch": preference.reward.arch}
    return digest([keys, digests.get("data")])


def _part_keys(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part.get("name" if key == "part" else key) for key in PART_COLUMNS}


def _outcome(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part.get(key) or "" for key in ("status", "reason")}


def _number_rows(
    run: StoredRun, keys: dict[str, Any], parts: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for entry in run.record.result.get("metrics") or []:
        at = dict(entry.get("at") or {})
        place = int(at.pop("part", -1))
        values = np.array(entry["values"], dtype=float)
        if not 0 <= place < len(parts) or not len(values):
            continue
        several = len(values) > 1
        yield {
            **keys,
            **_part_keys(parts[place]),
            **at,
            "metric": entry["name"],
            "unit": entry.get("unit") or "",
            "better": entry.get("better") or "",
            "value": float(values.mean()),
            "standard_error": float(values.std(ddof=1) / len(values) ** 0.5) if several else None,
            "samples": len(values),
            "values": values,
        }
