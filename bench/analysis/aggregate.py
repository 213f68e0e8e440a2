"""Average the runs of a variant over its seeds, and join what was measured: a row per variant."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import budgets
from bench.analysis.sessions import PEAK_MEMORY, RATES, MeasuredSession, scalar_point
from bench.analysis.summary_columns import (
    COST_COLUMNS,
    CSV_NAMES,
    FACTS,
    REGRET_COLUMNS,
    SAMPLED_COLUMNS,
    SUMMARY_COLUMNS,
    WHOLE_NUMBERS,
)
from bench.records.labels import recipe
from bench.records.loading import UNREADABLE
from bench.records.tables import Records
from bench.stats import jackknife_changes, mean_interval

VARIANT_KEY = ["variant", "control", "data_digest", "objective", "protocol", "part", "precision"]
MEASURED_METRICS = (*RATES, PEAK_MEMORY, "state_bytes")
PERPLEXITIES, PSEUDO_ERROR = ("perplexity", "pseudo_perplexity"), "pseudo_perplexity_standard_error"
LOG2 = float(np.log(2))
CONTROL_SUFFIX = " again"  # behind the label of the A/A control
DUPLICATE = "-again"  # behind the key of its row


@dataclass(frozen=True)
class VariantTables:
    """Everything about variants. `row` numbers them."""

    summary: pd.DataFrame  # indexed by row: SUMMARY_COLUMNS, FACTS, stale
    runs: pd.DataFrame  # the records' runs with `row`, and a column per metric of one sample
    documents: pd.DataFrame  # indexed by row and document: nats (mean over seeds) and bytes
    windows: pd.DataFrame  # the same of the sampled windows that encoders are scored on too
    means: pd.DataFrame  # indexed by row: the mean of each metric over the finished runs

    def finished(self, rows: "pd.Index[Any]") -> pd.DataFrame:
        """Return the finished runs of some rows."""
        return self.runs[(self.runs["status"] == "done") & self.runs["row"].isin(rows)]


def aggregate_variants(records: Records, sessions: list[MeasuredSession]) -> VariantTables:
    """Average the runs over seeds and join what was measured."""
    runs = _number_variants(records.runs)
    metrics = _metrics_by_run(records.values)
    runs = runs.join(metrics[metrics.columns.difference(runs.columns)], on="run")
    done = runs[runs["status"] == "done"]
    means = done.groupby("row")[[name for name in metrics if name in done]].mean()
    documents = _mean_nats(records.documents, done)
    tables = [
        _describe_variants(runs),
        _scores(done, documents),
        means.reindex(columns=SAMPLED_COLUMNS).astype(float),
        done.reindex(columns=COST_COLUMNS).astype(float).groupby(done["row"]).median(),
        _mean_regrets(done),
        budgets.late_losses(records.curves, done),
    ]
    summary = _join_speeds(tables[0].join(pd.concat(tables[1:], axis=1)), sessions)
    windows = _mean_nats(records.windows.rename(columns={"window": "document"}), done)
    return VariantTables(summary, runs, documents, windows, means)


def _number_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with their settings and the number of their variant.

    A run that failed before it knew its text or protocol belongs to the others of its variant.
    """
    settings = {
        "budget": budgets.size_budget,
        "matched": budgets.describe_size_budget,
        "length": budgets.describe_length,
        "learning_rate": budgets.learning_rate,
        "trials": budgets.search_trials,
        "untuned": budgets.search_edge,
        "rate_origin": budgets.rate_origin,
        "searched_steps": budgets.searched_steps,
        "rate_elsewhere": budgets.rate_elsewhere,
        "recipe": recipe,
        "context": lambda config: config["size"]["context"],
    }
    digests = [(one.get("digests") or {}).get("text") or "" for one in runs["provenance"]]
    texts = pd.Series(digests, runs.index, dtype=object)
    table = runs.assign(
        **{name: [read(config) for config in runs["config"]] for name, read in settings.items()},
        text_digest=texts.where(texts.ne(""), runs["data_digest"]),
        lossy=[bool((one.get("data") or {}).get("lossy")) for one in runs["provenance"]],
    )
    table = _fill_settings(table)
    table = table.assign(row=table.groupby(VARIANT_KEY, sort=False).ngroup())
    return table.assign(row_key=_row_keys(table))


def _row_keys(runs: pd.DataFrame) -> "pd.Series[Any]":
    """Return the stable name of each run's row: architecture and variant, numbered if ambiguous."""
    again = runs["control"].astype(bool).map({True: DUPLICATE, False: ""}).astype(str)
    keys = runs["arch"].astype(str) + "-" + runs["variant"].astype(str) + again
    firsts = keys.groupby(runs["row"]).first()
    number = firsts.groupby(firsts).cumcount()
    suffix = ("-" + (number + 1).astype(str)).where(number > 0, "")
    return (firsts + suffix).reindex(runs["row"]).set_axis(runs.index)


def _fill_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Take what a run did not record from the other runs of its variant."""
    table = table.copy()
    for name in ("data_digest", "text_digest", "objective", "protocol", "part", "precision"):
        column = table[name].astype(object).where(~table[name].isin(["", "auto"]))
        of_others = column.groupby(table["variant"]).transform("first")
        default = "auto" if name == "objective" else ""
        table[name] = column.fillna(of_others).fillna(default).astype(str)
    return table


def _metrics_by_run(values: pd.DataFrame) -> pd.DataFrame:
    """Return a row per run, a column per metric: the mean of its samples."""
    numbers = pd.to_numeric(values["value"], errors="coerce").astype(float)
    return numbers.groupby([values["run"], values["metric"]]).mean().unstack("metric")


def _describe_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the facts of each variant, how many seeds are done, and why the others are not."""
    groups = runs.groupby("row")
    facts = groups[[*FACTS, *VARIANT_KEY, "row_key"]].first().assign(stale=groups["stale"].any())
    labels = facts["label"].astype(str)  # without any run it would be a column of numbers
    facts["label"] = labels.where(~facts["control"].astype(bool), labels + CONTROL_SUFFIX)
    done = runs[runs["status"] == "done"].groupby("row")["seed"].nunique()
    facts["seeds"] = done.reindex(facts.index, fill_value=0)
    facts["seeds_asked"] = groups["seed"].nunique()
    states = ["done", "failed", "skipped", UNREADABLE, "unfinished"]  # the first of these counts
    facts["status"] = groups["status"].agg(lambda own: min(own, key=states.index)).astype(str)
    facts["reason"] = _missing_seeds(runs).reindex(facts.index).fillna("")
    return facts


def _missing_seeds(runs: pd.DataFrame) -> "pd.Series[Any]":
    """Return by row why seeds are not done: `seed 1, 2 failed: reason; …`."""
    undone = runs[runs["status"] != "done"]
    reasons = undone.assign(reason=undone["reason"].where(undone["reason"] != "", undone["status"]))
    lines = reasons.groupby(["row", "status", "reason"], sort=False)["seed"].agg(
        lambda seeds: ", ".join(str(seed) for seed in sorted(seeds))
    )
    table = lines.reset_index()
    line = "seed " + table["seed"].astype(str) + " " + table["status"] + ": " + table["reason"]
    return line.groupby(table["row"]).agg("; ".join)


def _mean_nats(documents: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """Return the nats of each held-out document, averaged over a variant's seeds."""
    joined = documents.merge(done[["run", "row"]], on="run").astype({"nats": float, "bytes": float})
    groups = joined.groupby(["row", "document"])
    return groups.agg(nats=("nats", "mean"), bytes=("bytes", "first"))


def document_variance_table(documents: pd.DataFrame) -> pd.DataFrame:
    """Return by row the jackknife variance of Σ nats / (Σ bytes ln 2) over documents.

    `documents`: how many of equal size carry as much information (Kish 1965).
    """
    groups = documents.groupby("row")
    totals, count = groups.sum(), groups.size()
    row = documents.index.get_level_values("row")
    mean = (totals["nats"] / totals["bytes"]).reindex(row).to_numpy(dtype=float)
    total = totals["bytes"].reindex(row).to_numpy(dtype=float)
    sizes = documents["bytes"].where(documents["bytes"] < total)  # of one document it is unknown
    change = jackknife_changes(documents["nats"], sizes, mean, total)
    squares = change.mul(change).groupby(level="row").sum()
    variance = squares * ((count - 1) / count).where(count > 1) / LOG2**2
    effective = totals["bytes"].pow(2) / documents["bytes"].pow(2).groupby(level="row").sum()
    table = pd.DataFrame({"document_variance": variance, "documents": effective})
    return table.astype(float)


def _scores(done: pd.DataFrame, documents: pd.DataFrame) -> pd.DataFrame:
    """Return bits per byte with their interval; perplexities are exponentials of mean nats."""
    table = done.reindex(columns=["bits_per_byte", *PERPLEXITIES, PSEUDO_ERROR]).astype(float)
    groups = table.groupby(done["row"])
    result = _bits_per_byte(groups["bits_per_byte"], documents)
    for name in PERPLEXITIES:
        logarithms = table[name].map(np.log, na_action="ignore")
        result[name] = np.exp(logarithms.groupby(done["row"]).mean())
    errors = groups[PSEUDO_ERROR].mean()
    result[PSEUDO_ERROR] = _with_seed_error(errors, groups["pseudo_perplexity"])
    return result


def _bits_per_byte(groups: Any, documents: pd.DataFrame) -> pd.DataFrame:
    """Return by row the mean over seeds, its interval and the deviation of the seeds."""
    rows = dict(iter(groups))
    spread = document_variance_table(documents).reindex(list(rows))
    for row, column in rows.items():
        seeds = column.dropna().to_numpy(dtype=float)
        interval = mean_interval(seeds, *spread.loc[row].to_numpy(dtype=float))
        deviation = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else float("nan")
        rows[row] = (*interval, deviation)
    ends = [f"bits_per_byte_{one}" for one in ("low", "high", "basis", "seed_deviation")]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["bits_per_byte", *ends])


def _with_seed_error(errors: "pd.Series[float]", scores: Any) -> "pd.Series[float]":
    """Add the error over seeds. That over positions does not shrink: all seeds have the same."""
    variance = (scores.var() / scores.count()).fillna(0.0)
    return (errors.pow(2) + variance).pow(0.5)


def _mean_regrets(done: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds on sources with a known oracle, with the error of the regret."""
    groups = done.reindex(columns=REGRET_COLUMNS).astype(float).groupby(done["row"])
    means = groups.mean()
    errors = _with_seed_error(means["regret_standard_error"], groups["regret"])
    return means.assign(regret_standard_error=errors)


def _join_speeds(summary: pd.DataFrame, sessions: list[MeasuredSession]) -> pd.DataFrame:
    """Join the medians of the machine that measured most; later sessions replace earlier ones."""
    table = summary.reindex(columns=list(dict.fromkeys([*summary.columns, *SUMMARY_COLUMNS])))
    table[["machine", "sitting"]] = table[["machine", "sitting"]].astype(object)
    table["training_memory_bytes"] = table["training_memory_bytes"].astype(float)
    largest = max(sessions, key=lambda one: (len(one.medians), one.name), default=None)
    for session in (one for one in sessions if largest and one.machine == largest.machine):
        rows = table["subject"].isin(session.medians.index)
        measured = _measured_values(session, table.loc[rows])
        table.loc[rows, list(MEASURED_METRICS)] = measured.to_numpy()
        table.loc[rows, ["machine", "sitting"]] = [session.machine, session.name]
        table.loc[rows, "training_memory_bytes"] = table["subject"].map(session.training_memory)
    return table


def _measured_values(session: MeasuredSession, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the medians of the rows' subjects, with the counted state where none was measured."""
    subjects = rows["subject"]
    measured = session.medians.reindex(columns=list(MEASURED_METRICS)).reindex(subjects)
    refused = [(one, scalar_point("state_bytes")) in session.gaps for one in subjects]
    counted = rows["state_bytes"].set_axis(subjects).mask(np.array(refused, bool))
    return measured.assign(state_bytes=measured["state_bytes"].fillna(counted))


def summary_table(variants: VariantTables, more: pd.DataFrame) -> pd.DataFrame:
    """Return summary.csv; `more` are further columns, by row."""
    table = variants.summary[SUMMARY_COLUMNS].join(more)
    table = table.sort_values(["data", "data_digest", "objective", "arch", "variant"])
    numbers = {name: table[name].astype(float).round().astype("Int64") for name in WHOLE_NUMBERS}
    return table.assign(**numbers).rename(columns=CSV_NAMES)
