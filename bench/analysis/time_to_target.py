"""Compute the tokens, training FLOPs and seconds until a target validation loss.

The median over seeds: a seed that never reached the target counts as infinite, and an infinite
median as a miss (AlgoPerf, Dahl et al. 2023). The first evaluation at or below the target counts,
without interpolation.
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
TARGET_COLUMNS = (
    "target target_unit target_reached tokens_to_target flops_to_target seconds_to_target"
).split()


@dataclass(frozen=True)
class Target:
    """One level of quality, and what each row of a table needed to reach it."""

    level: float
    unit: str
    given: bool
    looks: float  # the median number of validation losses per run
    average: bool  # whether bytes per token are those of the part, not of the evaluated blocks
    rows: pd.DataFrame  # indexed by row: label, seeds, lowest, and TARGET_COLUMNS


def parse_target(words: Sequence[str]) -> float | None:
    """Return the bits per byte of `target=2.2`; raise UserError for any other argument."""
    level = None
    for word in words:
        key, _, value = word.partition("=")
        if key != "target":
            raise UserError(
                f"{word} is not known: after the folder come target=…, bits per byte to be "
                "reached, as in target=2.2, figures=… and csv.safe=…"
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
    """Return what each row needed to reach the target; None without any validation loss."""
    rows = rows[~rows["control"]]
    runs = _ended_runs(tables.runs, rows.index)
    sizes, average = _bytes_per_token(runs)
    unit = BITS if sizes.notna().all() else NATS
    curve = _validation_losses(curves, sizes, unit)
    if curve.empty or (given is not None and unit == NATS):  # `given` is in bits per byte
        return None
    reach = _reached_losses(curve, runs)
    level = _common_level(reach) if given is None else given
    if not math.isfinite(level):
        return None
    table = _costs(rows, runs, curve[curve["loss"] <= level])
    table = table.assign(lowest=reach, target=level, target_unit=unit)
    table = table.sort_values(["tokens_to_target", "lowest"])
    looks = float(curve.groupby("run").size().median())
    return Target(level, unit, given is not None, looks, average, table)


def _reached_losses(curve: pd.DataFrame, runs: pd.DataFrame) -> "pd.Series[float]":
    """Return by row the lowest loss that more than half of the seeds reach."""
    lowest = _by_run(curve.groupby("run")["loss"].min(), runs)
    reached: pd.Series[float] = lowest.agg(lambda losses: np.sort(losses)[len(losses) // 2])
    return reached


def _ended_runs(runs: pd.DataFrame, rows: "pd.Index[Any]") -> pd.DataFrame:
    """Return the rows' runs that finished or diverged; a diverged one missed the target."""
    runs = runs[runs["row"].isin(rows)]
    diverged = np.array(["diverged" in facts for facts in runs["facts"]], dtype=bool)
    return runs[runs["status"].eq("done") | diverged].set_index("run")


def _validation_losses(curves: pd.DataFrame, sizes: "pd.Series[float]", unit: str) -> pd.DataFrame:
    """Return the validation losses in the unit: run, tokens, loss. `sizes`: bytes per token."""
    losses = curves[["run", "tokens", "validation_nats"]].dropna()
    losses = losses[losses["run"].isin(sizes.index)]
    losses = losses.astype({"tokens": float, "validation_nats": float})
    scale = LOG2 * sizes if unit == BITS else pd.Series(1.0, sizes.index)
    scales = scale.reindex(losses["run"]).to_numpy()
    return losses.assign(loss=losses["validation_nats"].to_numpy() / scales)


def _by_run(values: "pd.Series[float]", runs: pd.DataFrame) -> Any:
    """Group the values of runs by row; a run without a value has infinity."""
    return values.reindex(runs.index).fillna(math.inf).groupby(runs["row"])


def _costs(rows: pd.DataFrame, runs: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """Return the seeds, how many reached the target, and medians of tokens, FLOPs and seconds.

    There are no seconds where the rates are from several sessions.
    """
    first = _by_run(reached.groupby("run")["tokens"].min(), runs)
    counts = first.agg(lambda tokens: np.isfinite(tokens).sum())
    columns = {"seeds": first.size(), "target_reached": counts, "tokens_to_target": first.median()}
    table = rows[["label"]].join(pd.DataFrame(columns))
    per_token = _column(runs, "flops_per_token").groupby(runs["row"]).median()
    flops = table["tokens_to_target"] * TRAINING_FLOPS_FACTOR * per_token.reindex(table.index)
    one_session = rows["sitting"].dropna().nunique() == 1
    rates = rows["train_tokens_per_second"].astype(float) if one_session else math.nan
    seconds = table["tokens_to_target"] / rates
    return table.assign(flops_to_target=flops, seconds_to_target=seconds)


def _common_level(reach: "pd.Series[float]") -> float:
    """Return the best level that two rows reach, rounded up to 0.01; with one row, its own."""
    ordered = np.sort(reach.to_numpy(dtype=float))[:2]
    if not np.isfinite(ordered).all():
        return math.inf
    return math.ceil(round(100 * float(ordered[-1]), 6)) / 100


def _bytes_per_token(runs: pd.DataFrame) -> tuple["pd.Series[float]", bool]:
    """Return bytes per token of the evaluated blocks, and whether some are the part's average."""
    kept = _column(runs, "validation_bytes_per_token")
    averages = [_mean_bytes_per_token(one.get("data")) for one in runs["provenance"]]
    average = pd.Series(averages, index=runs.index, dtype=float)
    same = kept.groupby(runs["row"]).transform("max")  # a seed that diverged did not record it
    return kept.fillna(same).fillna(average), bool((kept.isna() & same.isna()).any())


def _mean_bytes_per_token(data: Any) -> float:
    """Return bytes per token of the validation part; separators count as tokens."""
    try:
        return float(data["bytes"]["validation"]) / float(data["tokens"]["validation"])
    except (TypeError, KeyError, ZeroDivisionError):
        return math.nan


def _column(runs: pd.DataFrame, name: str) -> "pd.Series[float]":
    return runs.get(name, pd.Series(math.nan, index=runs.index)).astype(float)


def target_columns(targets: Iterable[Target | None]) -> pd.DataFrame:
    """Return the columns of summary.csv, by row; inf is a miss."""
    tables = [target.rows[TARGET_COLUMNS] for target in targets if target is not None]
    return pd.concat(tables) if tables else pd.DataFrame(columns=TARGET_COLUMNS)
