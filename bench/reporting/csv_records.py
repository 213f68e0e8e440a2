"""Rows of the CSV files: every sample, step, document, text, ratio and crossing, with names."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from bench.analysis import crossovers
from bench.analysis.aggregate import VariantTables
from bench.analysis.sessions import RATES, MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.records.tables import CURVE_COLUMNS, Records
from bench.reporting.sections.facts import split_prompt
from bench.stats.intervals import Ratio

NAME_COLUMNS = ["row", "label", "control", "family"]  # of every file about rows
AXES = ("length", "batch", "position", "context")  # of curves, as columns of numbers
RATIO_COLUMNS = {  # of speeds.csv, and what they hold of a ratio
    "ratio_to_reference": "value", "low": "low", "high": "high", "geometric_mean": "mean",
    "mean_low": "mean_low", "mean_high": "mean_high", "rounds": "rounds",
}  # fmt: skip
BY_CPU = frozenset(RATES.values())
NO_BINS = pd.DataFrame(columns=["run"])
RUN_NAMES = ["run", "arch", "variant", "data", "size", "seed", "objective", *NAME_COLUMNS]


def named_runs(variants: VariantTables) -> pd.DataFrame:
    """Return the runs with the key, label, family and control mark of their row."""
    labels = variants.summary["label"].reindex(variants.runs["row"]).to_numpy()
    return variants.runs.assign(row=variants.runs["row_key"], label=labels)


def with_places(table: pd.DataFrame, places: Iterable[Any]) -> pd.DataFrame:
    """Add the point on an axis of each row, as text in `at` and as a number in AXES."""
    dicts = [at if isinstance(at, dict) else {} for at in places]
    texts = [", ".join(f"{axis}={x:g}" for axis, x in at.items()) for at in dicts]
    numbers = {axis: [at.get(axis) for at in dicts] for axis in AXES}
    columns = {axis: pd.array(values, dtype="Float64") for axis, values in numbers.items()}
    return table.assign(at=texts, **columns)


def runs_table(records: Records, variants: VariantTables) -> pd.DataFrame:
    """Return every sample of runs, rescored runs and measurements; without one, the reason."""
    runs = named_runs(variants)
    trained = runs[[*RUN_NAMES, "status", "reason", "protocol", "part"]]
    first = trained.merge(records.values, on="run", how="left")
    rescored = runs[RUN_NAMES].merge(records.evaluations, on="run")
    tables = [first, rescored, _measured_rows(records.measures, runs), records.excluded]
    tables = [one for one in tables if len(one)] or [first]
    table = pd.concat(tables, ignore_index=True)
    whole_numbers = dict.fromkeys(["seed", "sample", "round"], "Int64")
    table = table.reindex(columns=[*dict.fromkeys([*table, "at", *whole_numbers])])
    return with_places(table, table["at"]).astype(whole_numbers)  # those left out have no place


def _measured_rows(measures: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return every sample of measurements under the name of its measurement.

    Several rows may share a measurement: it has the names of the first of them.
    """
    duplicate = measures["twin"].astype(bool)
    suffix = duplicate.map({True: "-again", False: ""}).astype(str)
    name = "measure/" + measures["sitting"] + "/" + measures["arch"] + "-" + measures["subject"]
    workloads = runs[~runs["control"].astype(bool)].drop_duplicates("subject").set_index("subject")
    names = workloads[["size", "objective", "row", "label", "family"]]
    measured = measures.drop(columns=["environment", "family"], errors="ignore")
    return measured.assign(run=name + suffix, control=duplicate).join(names, on="subject")


def curves_table(records: Records, variants: VariantTables) -> pd.DataFrame:
    """Return every logged step."""
    curves = records.curves.reindex(columns=CURVE_COLUMNS)
    names = named_runs(variants).set_index("run")[["row", "control", "family"]]
    return curves.join(names, on="run")


def documents_table(records: Records, variants: VariantTables) -> pd.DataFrame:
    """Return the nats of each held-out document by each finished run.

    With them and `bits_per_byte` of runs.csv the p values of verdicts.csv can be computed again.
    """
    runs = named_runs(variants)
    runs = runs.loc[runs["status"] == "done", ["run", "seed", *NAME_COLUMNS]]
    return records.documents.merge(runs, on="run")


def samples_table(variants: VariantTables) -> pd.DataFrame:
    """Return the text that each run generated, behind its prompt."""
    runs = named_runs(variants)
    runs = runs[runs["text"].astype(str) != ""]
    pairs = zip(runs["text"].map(str), runs["config"], strict=True)
    parts = pd.DataFrame(
        [split_prompt(*pair) for pair in pairs], runs.index, ["prompt", "generated"]
    )
    return runs.join(parts)


def saliency_table(records: Records, variants: VariantTables) -> pd.DataFrame:
    """Return the mean share of saliency in each bin of distance, by run."""
    names = named_runs(variants)[["run", *NAME_COLUMNS]]
    explained = records.saliency[records.saliency["shares"].map(len) > 0]
    table = pd.concat([*map(_saliency_bins, explained.itertuples())] or [NO_BINS])
    own = records.saliency[["run", "arch", "variant", "seed"]].merge(names, on="run")
    return own.merge(table, on="run")


def _saliency_bins(content: Any) -> pd.DataFrame:
    shares = pd.DataFrame(content.shares).astype(float)
    nearest, farthest = zip(*content.distances, strict=True)
    table = pd.DataFrame({"nearest": nearest, "farthest": farthest, "run": content.run})
    means, errors = shares.mean().to_numpy(), shares.sem().to_numpy()
    return table.assign(share=means, share_error=errors, predictions=len(shares))


def speed_rows(session: MeasuredSession) -> Iterator[dict[str, Any]]:
    """Yield a row per subject and point; ratios are of the metric: of seconds, less is better."""
    keys = [(point, str(one)) for point, own in session.samples.items() for one in own]
    reference = session.reference
    ratios = session.paired_ratios([(*key, reference) for key in keys])
    for (point, subject), ratio in zip(keys, ratios, strict=True):
        metric, axis, x = point
        median = session.points.get((subject, point))  # with an interval along an axis only
        clears = subject == reference or session.clear_side(metric, ratio) != 0
        yield _common(session, metric) | _estimates(median, ratio) | {
            "at": {axis: x} if axis else {},
            "arch": session.arches.get(subject, ""), "subject": subject,
            "median": session.at(subject, point), "clock": "cpu" if metric in BY_CPU else "wall",
            "reference": session.arches.get(reference, ""),
            "claim": clears and metric not in BY_CPU and session.allows_claim(metric),
        }  # fmt: skip


def _estimates(median: Ratio | None, ratio: Ratio | None) -> dict[str, float]:
    ends = {"median_low": median.low, "median_high": median.high} if median else {}
    return ends | {name: getattr(ratio, part) for name, part in RATIO_COLUMNS.items() if ratio}


def _common(session: MeasuredSession, metric: str) -> dict[str, Any]:
    return {"machine": session.machine, "sitting": session.name, "metric": metric}


def crossing_rows(group: SpeedGroup) -> Iterator[dict[str, Any]]:
    """Yield a row per crossing, and one for each pair and curve without any."""
    session = group.session
    for pair in group.pairs:
        row = _common(session, pair.metric) | {
            "first_subject": pair.first, "second_subject": pair.second,
            "first": group.label(pair.first), "second": group.label(pair.second),
            "lengths": " ".join(f"{length:g}" for length in pair.lengths),
            "claim": session.allows_claim(pair.metric),
            "sentence": crossovers.pair_sentence(pair, group.label),
        }  # fmt: skip
        names = [group.label(name) if name else "" for name in (pair.initially_faster, pair.other)]
        if not pair.crossings:
            yield row | {"faster_below": names[0]}
        for n, one in enumerate(pair.crossings):
            place = {"length": one.length, "between_low": one.low, "between_high": one.high}
            yield row | place | {"faster_below": names[n % 2]}
