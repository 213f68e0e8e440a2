"""What it takes to reach a stated quality: tokens, training FLOPs and seconds, read off the looks at the validation part.

The median over seeds; a seed that never reached it counts as infinite, and a median that is infinite is a miss, not a number
(AlgoPerf, Dahl et al. 2023). The first look at or below the target counts: nothing is read between looks.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.aggregate import LOG2, VariantTables
from bench.config.errors import UserError
from bench.records.metrics import TRAINING_FLOPS_FACTOR

BITS, NATS = "bits per byte", "nats per token"
TARGET_COLUMNS = [
    "target",
    "target_unit",
    "target_reached",
    "tokens_to_target",
    "flops_to_target",
    "seconds_to_target",
]


@dataclass(frozen=True)
class Target:
    """One level of quality, and what each row of a table needed to reach it."""

    level: float
    unit: str
    given: bool
    looks: float  # the median number of looks a run
    average: bool  # whether bytes are the part's average, since a record does not keep those of its blocks
    rows: pd.DataFrame  # indexed by row: label, colour, seeds, lowest, and COLUMNS


def parse_target(words: Sequence[str]) -> float | None:
    """The target among the words behind a results folder: target=2.2. Raises UserError for any other word."""
    level = None
    for word in words:
        key, _, value = word.partition("=")
        if key != "target":
            raise UserError(
                f"{word} is not known: after the folder comes target=…, bits per byte to be reached, as in target=2.2"
            )
        try:
            level = float(value)
        except ValueError:
            level = math.nan
        if not 0 < level < math.inf:
            raise UserError(
                f"target={value} is no quality: give bits per byte above 0, as in target=2.2"
            )
    return level


def build_target(
    rows: pd.DataFrame, tables: VariantTables, curves: pd.DataFrame, given: float | None
) -> Target | None:
    """Return what each row of a table of likelihoods needed; None where no validation loss was logged."""
    rows = rows[~rows["control"]]
    looked = curves[["run", "tokens", "validation_nats"]].dropna()
    looked = looked.astype({"tokens": float, "validation_nats": float})
    runs = tables.runs[tables.runs["row"].isin(rows.index)]
    diverged = pd.Series(
        ["diverged" in facts for facts in runs["facts"]], runs.index, dtype=bool
    )  # it has missed
    runs = runs[runs["status"].eq("done") | diverged].set_index("run")
    curve = looked[looked["run"].isin(runs.index)]
    if curve.empty:
        return None
    sizes, average = _bytes_per_token(runs)
    unit = BITS if sizes.notna().all() else NATS
    if (
        given is not None and unit == NATS
    ):  # what was asked for is in bits per byte, and bytes are not known
        return None
    scale = LOG2 * sizes if unit == BITS else sizes.notna() * 0.0 + 1.0
    curve = curve.assign(
        loss=curve["validation_nats"].to_numpy() / scale.reindex(curve["run"]).to_numpy()
    )
    lowest = (
        curve.groupby("run")["loss"].min().reindex(runs.index).fillna(math.inf).groupby(runs["row"])
    )
    reach = lowest.agg(
        lambda column: np.sort(column)[len(column) // 2]
    )  # what more than half of the seeds reach
    level = _common_level(reach) if given is None else given
    if not math.isfinite(level):
        return None
    first = (
        curve[curve["loss"] <= level]
        .groupby("run")["tokens"]
        .min()
        .reindex(runs.index)
        .fillna(math.inf)
    )
    found = rows[["label", "colour"]].assign(
        seeds=first.groupby(runs["row"]).size(),
        lowest=reach,
        target=level,
        target_unit=unit,
        target_reached=np.isfinite(first).groupby(runs["row"]).sum(),
        tokens_to_target=first.groupby(runs["row"]).median(),
    )
    found["flops_to_target"] = (
        found["tokens_to_target"]
        * TRAINING_FLOPS_FACTOR
        * _flops_per_token(runs).reindex(found.index)
    )
    together = rows["sitting"].dropna().nunique() == 1  # rates of several sittings are not compared
    rates = rows["train_tokens_per_second"].astype(float)
    found["seconds_to_target"] = found["tokens_to_target"] / (rates if together else math.nan)
    looks = float(curve.groupby("run").size().median())
    return Target(
        level,
        unit,
        given is not None,
        looks,
        average,
        found.sort_values(["tokens_to_target", "lowest"]),
    )


def _common_level(reach: "pd.Series[float]") -> float:
    """The best level that two rows reach, in steps of a hundredth; of one row its own."""
    ordered = np.sort(reach.to_numpy(dtype=float))
    return (
        math.ceil(round(100 * float(ordered[min(1, len(ordered) - 1)]), 6)) / 100
        if np.isfinite(ordered[:2]).all()
        else math.inf
    )


def _bytes_per_token(runs: pd.DataFrame) -> tuple["pd.Series[float]", bool]:
    """Bytes a target of the blocks that were looked at, and whether some are the average of their part."""
    kept = runs.get("validation_bytes_per_token", pd.Series(math.nan, index=runs.index)).astype(
        float
    )
    average = pd.Series(
        [_mean_bytes_per_token(one.get("data")) for one in runs["provenance"]],
        index=runs.index,
        dtype=float,
    )
    same = kept.groupby(runs["row"]).transform("max")  # a seed that diverged never came to note it
    return kept.fillna(same).fillna(average), bool((kept.isna() & same.isna()).any())


def _mean_bytes_per_token(data: Any) -> float:
    """Bytes a token of the validation part, separators counted among the tokens."""
    try:
        return float(data["bytes"]["validation"]) / float(data["tokens"]["validation"])
    except (TypeError, KeyError, ZeroDivisionError):
        return math.nan


def _flops_per_token(runs: pd.DataFrame) -> "pd.Series[float]":
    return (
        runs.get("flops_per_token", pd.Series(math.nan, index=runs.index))
        .astype(float)
        .groupby(runs["row"])
        .median()
    )


def target_columns(targets: Iterable[Target | None]) -> pd.DataFrame:
    """The columns of summary.csv, by row; inf is a miss."""
    known = [target.rows[TARGET_COLUMNS] for target in targets if target is not None]
    return pd.concat(known) if known else pd.DataFrame(columns=TARGET_COLUMNS)
