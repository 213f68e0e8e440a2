"""The CSV files behind the page: every sample, logged step, verdict, ratio and crossing. (summary.csv is `tables`.)"""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import crossovers
from bench.analysis.aggregate import VariantTables
from bench.analysis.comparisons import Comparison
from bench.analysis.crossovers import SpeedPair
from bench.analysis.sessions import RATES, MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.records.tables import CURVE_COLUMNS, Records

NUMBER_COLUMNS = (
    "run,arch,variant,data,size,seed,status,reason,metric,unit,better,sample,value".split(",")
)
NUMBER_MORE = "note,at,round,protocol,part,objective,machine,sitting".split(",")
SPEED_COLUMNS = (
    "machine,sitting,metric,at,arch,subject,median,ratio_to_reference,low,high,clock,claim".split(
        ","
    )
)
SPEED_MORE = "geometric_mean,mean_low,mean_high,rounds,reference".split(",")
CROSSING_COLUMNS = "machine,sitting,metric,first,second,faster_below,length,between_low,between_high,lengths,claim,sentence".split(
    ","
)

VERDICT_COLUMNS = (
    "comparison,data,protocol,part,tokenizer,control,better,other,kind,difference,half,p,p_holm,wins,detectable,seeds_needed,basis,"
    "sentence"
).split(",")


def runs_table(records: Records, tables: VariantTables) -> pd.DataFrame:
    """runs.csv: every sample of runs, of what was scored again, and of measurements; a run without numbers keeps its reason."""
    keys = [
        "run",
        "arch",
        "variant",
        "data",
        "size",
        "seed",
        "status",
        "reason",
        "protocol",
        "part",
        "objective",
    ]
    of_runs = tables.runs[keys].merge(records.values, on="run", how="left")
    again = tables.runs[["run", "arch", "variant", "data", "size", "seed", "objective"]].merge(
        records.evaluations, on="run"
    )
    measures = records.measures.copy()
    measures["run"] = (
        "measure/" + measures["sitting"] + "/" + measures["arch"] + "-" + measures["subject"]
    )
    measures.loc[measures["twin"].astype(bool), "run"] += "-again"
    known = tables.runs.drop_duplicates("subject").set_index("subject")[["size", "objective"]]
    measures = measures.join(known, on="subject").drop(columns=["environment", "subject", "twin"])
    parts = [
        table
        for table in (of_runs, again, measures, records.excluded.drop(columns="rerun"))
        if len(table)
    ]
    table = pd.concat(parts, ignore_index=True) if parts else of_runs
    table = table.reindex(columns=[*NUMBER_COLUMNS, *NUMBER_MORE])
    table["at"] = [
        ", ".join(f"{k}={v:g}" for k, v in at.items()) if isinstance(at, dict) else ""
        for at in table["at"]
    ]
    return table.astype({"seed": "Int64", "sample": "Int64", "round": "Int64"})


def curves_table(records: Records) -> pd.DataFrame:
    """curves.csv."""
    return records.curves.reindex(columns=CURVE_COLUMNS)


def verdicts_table(parts: Sequence[Comparison]) -> pd.DataFrame:
    """verdicts.csv: a row a pair; `better` has the lower mean, whatever the verdict is. Bits per byte."""
    tables = []
    for part in parts:
        for rows, found in zip(part.likelihoods, part.verdicts, strict=True):
            about = {name: rows[name].iloc[0] for name in ("data", "protocol", "part", "tokenizer")}
            named = {
                "label": "better",
                "other_label": "other",
                "adjusted": "p_holm",
                "needed": "seeds_needed",
            }
            tables.append(found.pairs.rename(columns=named).assign(comparison=part.name, **about))
    return (pd.concat(tables) if tables else pd.DataFrame()).reindex(columns=VERDICT_COLUMNS)


def speeds_table(sittings: Sequence[MeasuredSession]) -> pd.DataFrame:
    """speeds.csv: a row a subject and point. Ratios are of the metric itself: of seconds, less is better."""
    rows = [row for sitting in sittings for row in _ratios(sitting)]
    return pd.DataFrame(rows, columns=[*SPEED_COLUMNS, *SPEED_MORE])


def _ratios(sitting: MeasuredSession) -> Iterator[dict[str, Any]]:
    keys = [(point, str(subject)) for point, of in sitting.samples.items() for subject in of]
    ratios = sitting.paired_ratios([(point, subject, sitting.reference) for point, subject in keys])
    wall = {cpu: clock for clock, cpu in RATES.items()}
    for (point, subject), ratio in zip(keys, ratios, strict=True):
        metric, axis, place = point
        itself = subject == sitting.reference
        yield {
            "machine": sitting.machine, "sitting": sitting.name, "metric": metric, "at": f"{axis}={place:g}" if axis else "",
            "arch": sitting.arches.get(subject, ""), "subject": subject, "median": sitting.at(subject, point),
            "clock": "cpu" if metric in wall else "wall", "reference": sitting.arches.get(sitting.reference, ""),
            "claim": bool(metric not in wall and sitting.allows_claim(metric) and (itself or (ratio is not None and ratio.agree))),
        } | ({} if ratio is None else {
            "ratio_to_reference": ratio.value, "low": ratio.low, "high": ratio.high, "geometric_mean": ratio.mean,
            "mean_low": ratio.mean_low, "mean_high": ratio.mean_high, "rounds": ratio.rounds,
        })  # fmt: skip


def crossovers_table(groups: Sequence[SpeedGroup]) -> pd.DataFrame:
    """crossovers.csv: a row a crossing, and one for each pair and curve without any."""
    rows = [row for group in groups for pair in group.pairs for row in _crossings(group, pair)]
    return pd.DataFrame(rows, columns=CROSSING_COLUMNS)


def _crossings(group: SpeedGroup, pair: SpeedPair) -> Iterator[dict[str, Any]]:
    sitting = group.session
    about = {
        "machine": sitting.machine, "sitting": sitting.name, "metric": pair.metric, "first": group.label(pair.first),
        "second": group.label(pair.second), "lengths": " ".join(f"{length:g}" for length in pair.lengths),
        "claim": sitting.allows_claim(pair.metric), "sentence": crossovers.pair_sentence(pair, group.label),
    }  # fmt: skip
    names = [group.label(name) if name else "" for name in (pair.initially_faster, pair.other)]
    if not pair.crossings:
        yield about | {"faster_below": names[0]}
    for place, one in enumerate(pair.crossings):
        ends = {"length": one.length, "between_low": one.low, "between_high": one.high}
        yield about | ends | {"faster_below": names[place % 2]}
