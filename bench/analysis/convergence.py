"""Measure how far the validation loss still falls at the end of the training budget."""

import math

import pandas as pd

LAST_SHARE = 0.1  # of the steps
STILL_FALLING = 0.02  # relative fall over them from which a row is marked
COLUMNS = ["validation_nats_before_end", "validation_nats_at_end"]


def late_losses(curves: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """Return by row the validation loss at 90 % of the steps and at the last, means over seeds.

    `done`: the finished runs (`run`, `row`). A run without a value at both ends does not count.
    """
    curve = curves[["run", "step", "validation_nats"]].dropna().sort_values("step")
    curve = curve.merge(done[["run", "row"]], on="run").astype({"validation_nats": float})
    last = curve.groupby("run")["step"].transform("max")
    early = curve[curve["step"] <= (1 - LAST_SHARE) * last]
    ends = [table.groupby("run")["validation_nats"].last() for table in (early, curve)]
    table = pd.concat(ends, axis=1, keys=COLUMNS).dropna()
    rows = curve.drop_duplicates("run").set_index("run")["row"]
    return table.groupby(rows.reindex(table.index)).mean()


def late_fall(before: float, end: float) -> float:
    """Return the share of the loss that the last tenth of the steps removed; NaN if unknown."""
    return 1 - end / before if before > 0 else math.nan
