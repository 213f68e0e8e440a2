"""Scores by further protocols, and loss against position and allowed context."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.records.tables import Records

SAMPLED = ("chunk", "stride", "stateful")


class ProtocolScore(NamedTuple):
    """Bits per byte by one protocol; NaN with the reason. `gain`: over chunk, on the sample."""

    value: float
    reason: str = ""
    gain: float = math.nan
    gain_error: float = math.nan
    seeds: int = 0


@dataclass(frozen=True)
class ProtocolScores:
    """The scores of the rows of one table: by sampled protocols, and of whole parts."""

    rows: pd.DataFrame
    headline: str
    sampled: dict[int, dict[str, ProtocolScore]]  # by row and protocol of SAMPLED; may be empty
    rescored: dict[str, dict[int, ProtocolScore]]  # by protocol and row
    notes: list[str]


def option_texts(rows: pd.DataFrame, variants: VariantTables, option: str) -> "pd.Series[Any]":
    """Return `evaluate.<option>` of the finished runs of each row, as text."""
    runs = variants.finished(rows.index)
    values = runs["config"].map(lambda config: config.get("evaluate", {}).get(option))
    texts = values.groupby(runs["row"]).agg(lambda group: " and ".join(map(str, group.unique())))
    return texts.reindex(rows.index).fillna("")


def protocol_scores(
    rows: pd.DataFrame, records: Records, variants: VariantTables
) -> ProtocolScores | None:
    """Return the further scores of a table's rows; None where no run has any."""
    runs = variants.finished(rows.index)[["run", "row"]]
    values = records.values.merge(runs, on="run")
    scores = _likelihood_scores(records.evaluations.merge(runs, on="run"))
    headline = str(rows["protocol"].iloc[0])
    others = sorted(set(scores["protocol"]) - {headline})
    sampled: dict[int, dict[str, ProtocolScore]] = {}
    if (has_sample := rows["chunk_bits_per_byte"].notna()).any():
        values = _one_sample(values, option_texts(rows, variants, "stretches"), has_sample)
        sampled = {row: _sampled(values[values["row"] == row]) for row in rows.index}
    elif not others:
        return None
    rescored = {name: _rescored(scores, rows, name) for name in others}
    return ProtocolScores(rows, headline, sampled, rescored, _sample_notes(values, bool(sampled)))


def _likelihood_scores(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["metric"].eq("bits_per_byte") | scores["status"].eq("skipped")]


def _one_sample(
    values: pd.DataFrame, stretches: "pd.Series[Any]", has_sample: "pd.Series[bool]"
) -> pd.DataFrame:
    """Return `values` without the numbers of rows whose sample differs from the most common one."""
    usual = str(stretches[has_sample].mode().iloc[0])
    own = values["row"].map(stretches)
    reason = "sampled on " + own + f" stretches where the others were on {usual}"
    number, note = values["value"].where(own == usual), values["note"].where(own == usual, reason)
    return values.assign(value=number, note=note)


def _sampled(values: pd.DataFrame) -> dict[str, ProtocolScore]:
    means: Any = values.groupby("metric")["value"].mean()
    scores = {}
    for protocol in SAMPLED:
        notes = values.loc[values["metric"] == f"{protocol}_bits_per_byte", "note"]
        value, gain, error = (
            float(means.get(f"{protocol}_{end}", math.nan))
            for end in ("bits_per_byte", "gain", "gain_standard_error")
        )
        reason = "" if math.isfinite(value) else str(next(iter(notes), "not scored"))
        scores[protocol] = ProtocolScore(value, reason, gain, error)
    return scores


def _rescored(scores: pd.DataFrame, rows: pd.DataFrame, protocol: str) -> dict[int, ProtocolScore]:
    own = scores[scores["protocol"] == protocol]
    return {row: _mean_score(own[own["row"] == row]) for row in rows.index}


def _mean_score(scores: pd.DataFrame) -> ProtocolScore:
    values = scores["value"].dropna()
    if len(values):
        return ProtocolScore(float(values.mean()), seeds=len(values))
    default = "not scored by it yet: run python -m bench.evaluate"
    return ProtocolScore(math.nan, str(next(iter(scores["reason"]), default)))


def _sample_notes(values: pd.DataFrame, has_sample: bool) -> list[str]:
    """Return how each column of the sample was made, as the records say."""
    metrics = [f"{protocol}_bits_per_byte" for protocol in SAMPLED] if has_sample else []
    made = values[values["metric"].isin(metrics) & values["value"].notna()]
    pairs = zip(made["metric"].str.removesuffix("_bits_per_byte"), made["note"], strict=True)
    return sorted({f"{protocol}: {note}." for protocol, note in pairs})


def curve_means(
    rows: pd.DataFrame, records: Records, variants: VariantTables, metric: str, axis: str
) -> pd.DataFrame:
    """Return the mean over seeds of a metric at each point of its axis: label, x, y."""
    values = records.values
    values = values[(values["metric"] == metric) & values["value"].notna()]
    table = values.merge(variants.finished(rows.index)[["run", "row"]], on="run")
    x = np.array([at.get(axis, math.nan) for at in table["at"]], dtype=float)
    means = table.assign(x=x).dropna(subset=["x"]).groupby(["row", "x"])["value"].mean()
    return means.rename("y").reset_index().join(rows[["label"]], on="row")


def curve_gaps(
    rows: pd.DataFrame, records: Records, variants: VariantTables, metric: str
) -> list[str]:
    """Return which lines end before the others', and why."""
    runs = variants.runs[variants.runs["row"].isin(rows.index)][["run", "row"]]
    values = records.values
    missing = values[(values["metric"] == metric) & values["value"].isna()].merge(runs, on="run")
    firsts = missing.drop_duplicates("row").join(rows["label"], on="row")
    return [f"{row.label} ends early: {row.note}." for row in firsts.itertuples()]
