"""The CSV files behind the page: every sample, logged step, verdict, ratio and crossing."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import crossovers
from bench.analysis.aggregate import VariantTables, summary_table
from bench.analysis.build import Analysis
from bench.analysis.comparisons import Comparison
from bench.analysis.crossovers import SpeedPair
from bench.analysis.preferences import PreferenceStudy
from bench.analysis.scaling_tables import laws_table, scaling_table
from bench.analysis.sessions import RATES, MeasuredSession, Point
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.time_to_target import target_columns
from bench.records.preference_tables import NUMBER_COLUMNS
from bench.records.tables import CURVE_COLUMNS, Records
from bench.reporting.csv_columns import (
    CROSSING_COLUMNS,
    PREFERENCE_VERDICT_COLUMNS,
    RUNS_COLUMNS,
    SPEED_COLUMNS,
    VERDICT_COLUMNS,
    csv_rows,
)
from bench.stats.intervals import Ratio

__all__ = ["csv_rows", "csv_tables"]

SHARED_COLUMNS = ("data", "protocol", "part", "tokenizer")  # by the rows of a table


def csv_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the tables by the name of their file."""
    parts = analysis.comparisons
    targets = target_columns([target for part in parts for target in part.targets])
    names = {row: part.name for part in parts for row in part.rows.index}
    keys = analysis.variants.summary[["subject"]].assign(
        comparison=lambda rows: rows.index.map(names)
    )
    control = analysis.variants.runs.set_index("run")["control"]
    curves = analysis.records.curves.reindex(columns=CURVE_COLUMNS)
    return {
        "summary.csv": summary_table(analysis.variants, keys.join(targets)),
        "runs.csv": runs_table(analysis.records, analysis.variants),
        "curves.csv": curves.assign(control=curves["run"].map(control)),
        "verdicts.csv": verdicts_table(parts),
        "scaling.csv": scaling_table(analysis.studies),
        "laws.csv": laws_table(analysis.studies),
        "speeds.csv": speeds_table(analysis.sessions),
        "crossovers.csv": crossovers_table(analysis.groups),
        "preferences.csv": analysis.records.preferences.numbers.reindex(columns=NUMBER_COLUMNS),
        "preference_verdicts.csv": preference_verdicts(analysis.preferences),
    }


def preference_verdicts(studies: Sequence[PreferenceStudy]) -> pd.DataFrame:
    """Return a row per pair of architectures, KL and measure of each study."""
    tables = [study.verdicts.assign(study=study.name) for study in studies]
    table = pd.concat(tables) if tables else pd.DataFrame()
    return table.reindex(columns=PREFERENCE_VERDICT_COLUMNS)


def runs_table(records: Records, variants: VariantTables) -> pd.DataFrame:
    """Return every sample of runs, rescored runs and measurements; without one, the reason."""
    names = ["run", "arch", "variant", "data", "size", "seed", "objective", "control"]
    runs = variants.runs[[*names, "status", "reason", "protocol", "part"]]
    trained = runs.merge(records.values, on="run", how="left")
    rescored = runs[names].merge(records.evaluations, on="run")
    measured = _measured_rows(records.measures, variants.runs)
    tables = [one for one in (trained, rescored, measured, records.excluded) if len(one)]
    table = pd.concat(tables, ignore_index=True) if tables else trained
    table = table.reindex(columns=RUNS_COLUMNS)
    table["at"] = [
        ", ".join(f"{axis}={x:g}" for axis, x in at.items()) if isinstance(at, dict) else ""
        for at in table["at"]
    ]
    return table.astype({"seed": "Int64", "sample": "Int64", "round": "Int64"})


def _measured_rows(measures: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return every sample of measurements under the name of its measurement."""
    duplicate = measures["twin"].astype(bool).map({True: "-again", False: ""}).astype(str)
    name = "measure/" + measures["sitting"] + "/" + measures["arch"] + "-" + measures["subject"]
    workloads = runs.drop_duplicates("subject").set_index("subject")
    return (
        measures.drop(columns="environment")
        .assign(run=name + duplicate)
        .join(workloads[["size", "objective"]], on="subject")
    )


def verdicts_table(parts: Sequence[Comparison]) -> pd.DataFrame:
    """Return a row per pair; `better` has the lower mean, whatever the verdict. Bits per byte."""
    columns = {
        "label": "better",
        "other_label": "other",
        "adjusted": "p_holm",
        "needed": "seeds_needed",
    }
    tables = [
        verdicts.pairs.rename(columns=columns).assign(
            comparison=part.name, **{name: rows[name].iloc[0] for name in SHARED_COLUMNS}
        )
        for part in parts
        for rows, verdicts in zip(part.likelihoods, part.verdicts, strict=True)
    ]
    table = pd.concat(tables) if tables else pd.DataFrame()
    return table.reindex(columns=VERDICT_COLUMNS)


def speeds_table(sessions: Sequence[MeasuredSession]) -> pd.DataFrame:
    """Return a row per subject and point; ratios are of the metric: of seconds, less is better."""
    rows = [row for session in sessions for row in _speed_rows(session)]
    return pd.DataFrame(rows, columns=SPEED_COLUMNS)


def _speed_rows(session: MeasuredSession) -> Iterator[dict[str, Any]]:
    keys = [
        (point, str(subject)) for point, samples in session.samples.items() for subject in samples
    ]
    reference = session.reference
    ratios = session.paired_ratios([(point, subject, reference) for point, subject in keys])
    common = {"machine": session.machine, "sitting": session.name}
    for (point, subject), ratio in zip(keys, ratios, strict=True):
        metric, axis, x = point
        clears = subject == reference or session.clear_side(metric, ratio) != 0
        row = {
            **common,
            "metric": metric,
            "at": f"{axis}={x:g}" if axis else "",
            "arch": session.arches.get(subject, ""),
            "subject": subject,
            **_median_values(session, subject, point),
            "clock": "cpu" if _is_by_cpu(metric) else "wall",
            "reference": session.arches.get(reference, ""),
            "claim": clears and _allows_claim(session, metric),
        }
        yield row | (_ratio_values(ratio) if ratio is not None else {})


def _median_values(session: MeasuredSession, subject: str, point: Point) -> dict[str, float]:
    """Return a median and its interval; there is one along an axis only."""
    median = session.points.get((subject, point))
    ends = {"median_low": median.low, "median_high": median.high} if median else {}
    return {"median": session.at(subject, point), **ends}


def _is_by_cpu(metric: str) -> bool:
    """Tell whether a metric is a rate by the processor's clock."""
    return metric in RATES.values()


def _allows_claim(session: MeasuredSession, metric: str) -> bool:
    """Tell whether a metric of a session can support a claim: those by the wall clock alone."""
    return not _is_by_cpu(metric) and session.allows_claim(metric)


def _ratio_values(ratio: Ratio) -> dict[str, float]:
    """Return a ratio to the reference by the columns of speeds.csv."""
    return {
        "ratio_to_reference": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "geometric_mean": ratio.mean,
        "mean_low": ratio.mean_low,
        "mean_high": ratio.mean_high,
        "rounds": ratio.rounds,
    }


def crossovers_table(groups: Sequence[SpeedGroup]) -> pd.DataFrame:
    """Return a row per crossing, and one for each pair and curve without any."""
    rows = [row for group in groups for pair in group.pairs for row in _crossing_rows(group, pair)]
    return pd.DataFrame(rows, columns=CROSSING_COLUMNS)


def _crossing_rows(group: SpeedGroup, pair: SpeedPair) -> Iterator[dict[str, Any]]:
    session = group.session
    row = {
        "machine": session.machine,
        "sitting": session.name,
        "metric": pair.metric,
        "first": group.label(pair.first),
        "second": group.label(pair.second),
        "lengths": " ".join(f"{length:g}" for length in pair.lengths),
        "claim": session.allows_claim(pair.metric),
        "sentence": crossovers.pair_sentence(pair, group.label),
    }
    names = [group.label(name) if name else "" for name in (pair.initially_faster, pair.other)]
    if not pair.crossings:
        yield row | {"faster_below": names[0]}
    for n, crossing in enumerate(pair.crossings):
        yield row | {
            "length": crossing.length,
            "between_low": crossing.low,
            "between_high": crossing.high,
            "faster_below": names[n % 2],
        }
