"""What was measured on machines: medians, and ratios of samples taken in the same rounds of one sitting."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.report.rows import each
from bench.report.statistics import Interval, median_interval, quiet

PAIRED = ("train_tokens_per_second", "prefill_tokens_per_second", "decode_tokens_per_second")


@dataclass(frozen=True)
class Sitting:
    """One sitting on one machine: the only place where speeds may be divided by one another."""

    name: str
    machine: str
    environment: dict[str, Any]
    medians: pd.DataFrame  # indexed by subject, a column a metric
    ratios: dict[tuple[str, str], Interval]  # (subject, metric): to the fastest of this sitting, over shared rounds
    notes: dict[tuple[str, str], str]  # (subject, metric): why there is no number, or how it was taken
    curves: pd.DataFrame  # subject, metric, length, value: medians along a length
    twins: dict[str, Interval]  # metric: an A/A pair's ratio, which should be 1
    arches: dict[str, str]  # subject: the name it was measured under

    def claims(self, metric: str) -> bool:
        """Whether the A/A pair was quiet enough for a sentence about this metric."""
        return quiet(self.twins.get(metric))


def sittings(measures: pd.DataFrame) -> list[Sitting]:
    """The sittings in use, in order: those that are the latest of their machine for at least one subject."""
    numbers = measures.assign(value=pd.to_numeric(measures["value"], errors="coerce").astype(float))
    filled = numbers[numbers["value"].notna()]
    latest = filled.groupby(["machine", "subject"])["sitting"].max()
    return [_sitting(name, numbers[numbers["sitting"] == name]) for name in sorted(set(latest))]


def _length(at: pd.Series) -> "pd.Series[float]":
    return pd.Series(
        [one.get("length", np.nan) if isinstance(one, dict) and len(one) == 1 else np.nan for one in at], index=at.index
    )


def _sitting(name: str, rows: pd.DataFrame) -> Sitting:
    plain = rows["at"].map(lambda at: not at)
    twin = rows["twin"].astype(bool)
    heads = rows[plain & ~twin]
    medians = heads.groupby(["subject", "metric"])["value"].median().unstack("metric")
    noted = heads[heads["value"].isna() & (heads["metric"] != "")]
    points = rows[~plain & ~twin].assign(length=_length(rows.loc[~plain & ~twin, "at"]))
    curves = points.dropna(subset=["length", "value"]).groupby(["subject", "metric", "length"])["value"].median().reset_index()
    environment = next((value for value in rows["environment"] if isinstance(value, dict) and value), {})
    paired = rows[plain & rows["metric"].isin(PAIRED) & rows["value"].notna()]
    return Sitting(
        name=name,
        machine=str(rows["machine"].iloc[0]),
        environment=environment,
        medians=medians[medians.notna().any(axis=1)],
        ratios=_ratios(paired[~paired["twin"].astype(bool)]),
        notes={(str(r.subject), str(r.metric)): str(r.note) for r in each(noted)},
        curves=curves,
        twins=_twins(paired),
        arches=dict(zip(heads["subject"], heads["arch"], strict=True)),
    )


def _by_round(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby(["round", "subject"])["value"].median().unstack("subject")


def _ratios(rows: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    found: dict[tuple[str, str], Interval] = {}
    for metric, group in rows.groupby("metric"):
        table = _by_round(group)
        reference = table.median().idxmax()
        for subject in table.columns:
            pairs = table[[subject, reference]].dropna() if subject != reference else None
            if pairs is None:
                found[str(subject), str(metric)] = Interval(1.0, 1.0, 1.0, "itself")
            elif len(pairs):
                found[str(subject), str(metric)] = median_interval((pairs[subject] / pairs[reference]).to_numpy(dtype=float))
    return found


def _twins(rows: pd.DataFrame) -> dict[str, Interval]:
    """The ratio of the subject that was entered twice to itself, per metric."""
    again = rows[rows["twin"].astype(bool)]
    found: dict[str, Interval] = {}
    for metric, group in again.groupby("metric"):
        subject = group["subject"].iloc[0]
        once = rows[(rows["metric"] == metric) & (rows["subject"] == subject) & ~rows["twin"].astype(bool)]
        pair = pd.concat([_by_round(once), _by_round(group)], axis=1, keys=["once", "again"]).dropna().to_numpy(dtype=float)
        if len(pair):
            found[str(metric)] = median_interval(pair[:, 1] / pair[:, 0])
    return found
