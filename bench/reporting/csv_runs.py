"""Tables of runs: every sample, logged step, document and text, each with the names of its row."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.records.tables import CURVE_COLUMNS, Records
from bench.reporting.csv_columns import (
    DOCUMENT_COLUMNS,
    FILES,
    NAME_COLUMNS,
    SALIENCY_COLUMNS,
    SAMPLE_COLUMNS,
)

AXES = ("length", "batch", "position", "context")  # of curves, as columns of numbers
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
    tables = [
        trained.merge(records.values, on="run", how="left"),
        runs[RUN_NAMES].merge(records.evaluations, on="run"),
        _measured_rows(records.measures, runs),
        records.excluded,
    ]
    tables = [one for one in tables if len(one)] or tables[:1]
    table = pd.concat(tables, ignore_index=True)
    points = table.reindex(columns=["at"])["at"]  # records that do not count have none
    table = with_places(table, points).reindex(columns=FILES["runs.csv"])
    return table.astype({"seed": "Int64", "sample": "Int64", "round": "Int64"})


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
    return records.documents.merge(runs, on="run").reindex(columns=DOCUMENT_COLUMNS)


def samples_table(variants: VariantTables) -> pd.DataFrame:
    """Return the text that each run generated, behind its prompt."""
    runs = named_runs(variants)
    runs = runs[runs["text"].astype(str) != ""]
    prompts = [str((config.get("evaluate") or {}).get("prompt") or "") for config in runs["config"]]
    pairs = list(zip(runs["text"].map(str), prompts, strict=True))
    prompts = [prompt if text.startswith(prompt) else "" for text, prompt in pairs]
    texts = [text.removeprefix(prompt) for text, prompt in pairs]
    return runs.assign(prompt=prompts, generated=texts).reindex(columns=SAMPLE_COLUMNS)


def saliency_table(records: Records, variants: VariantTables) -> pd.DataFrame:
    """Return the mean share of saliency in each bin of distance, by run."""
    names = named_runs(variants)[["run", *NAME_COLUMNS]]
    explained = records.saliency[records.saliency["shares"].map(len) > 0]
    bins = [_saliency_bins(one) for one in explained.itertuples()]
    table = pd.concat(bins or [pd.DataFrame(columns=["run"])])
    own = records.saliency[["run", "arch", "variant", "seed"]].merge(names, on="run")
    return own.merge(table, on="run").reindex(columns=SALIENCY_COLUMNS)


def _saliency_bins(content: Any) -> pd.DataFrame:
    shares = pd.DataFrame(content.shares).astype(float)
    nearest, farthest = zip(*content.distances, strict=True)
    table = pd.DataFrame({"nearest": nearest, "farthest": farthest, "run": content.run})
    means, errors = shares.mean().to_numpy(), shares.sem().to_numpy()
    return table.assign(share=means, share_error=errors, predictions=len(shares))
