"""From records to the tables that are printed and written: a row a variant, averaged over its seeds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis import budgets
from bench.analysis.sessions import MeasuredSession, scalar_point
from bench.records.labels import recipe
from bench.records.loading import UNREADABLE
from bench.records.tables import Records
from bench.stats import jackknife_changes, mean_interval

SUMMARY_COLUMNS = (
    "arch,variant,data,data_digest,tokenizer,size,objective,protocol,parameters,seeds,status,reason,bits_per_byte,"
    "bits_per_byte_low,bits_per_byte_high,perplexity,pseudo_perplexity,train_tokens_per_second,prefill_tokens_per_second,"
    "decode_tokens_per_second,peak_train_memory_bytes,state_bytes,train_seconds,tokens_seen"
).split(",")
EXTRA_SUMMARY_COLUMNS = (
    "label,part,parameters_without_embedding,parameters_in_products,width,budget_slack,bits_per_byte_seed_deviation,"
    "bits_per_byte_basis,pseudo_perplexity_standard_error,seeds_asked,machine,sitting,precision,lossy,control,"
    "parameters_active,regret,regret_standard_error,nats_per_token,oracle_nats_per_token,accuracy,oracle_accuracy,"
    "learning_rate,trials,untuned,"
    "left_to_right_bits_per_byte,left_to_right_standard_error,any_order_bits_per_byte,"
    "any_order_standard_error,filling_accuracy,filling_nats,chunk_bits_per_byte,stride_bits_per_byte,stateful_bits_per_byte,"
    "left_to_right_regret,left_to_right_regret_standard_error"
).split(",")
VARIANT_KEY = ["variant", "control", "data_digest", "objective", "protocol", "part", "precision"]
MEASURED_METRICS = (
    "train_tokens_per_second", "prefill_tokens_per_second", "decode_tokens_per_second", "peak_train_memory_bytes", "state_bytes",
)  # fmt: skip
LOG2 = float(np.log(2))
CONTROL_SUFFIX = " again"  # behind the label of the A/A control


@dataclass(frozen=True)
class VariantTables:
    """What the page is made from. `row` numbers the variants and is the index of `summary`."""

    summary: pd.DataFrame  # a row a variant: SUMMARY_COLUMNS, SUMMARY_MORE, subject, text_digest, budget, matched, context
    runs: pd.DataFrame  # the records' runs with `row`, and a column for each metric of one sample
    documents: pd.DataFrame  # indexed by row and document: nats (mean over seeds) and bytes
    windows: pd.DataFrame  # the same of the sampled windows that encoders are scored on too
    means: pd.DataFrame  # indexed by row: the mean of each metric over the finished runs


def aggregate_variants(records: Records, sittings: list[MeasuredSession]) -> VariantTables:
    """Average the runs over seeds and join what was measured."""
    runs = _number_variants(records.runs)
    wide = _metrics_by_run(records.values)
    runs = runs.join(wide[wide.columns.difference(runs.columns)], on="run")
    done = runs[runs["status"] == "done"]
    documents = _documents(records.documents, done)
    summary = (
        _describe_variants(runs)
        .join(_scores(done, documents))
        .join(_sampled_means(done))
        .join(_cost_medians(done))
        .join(_mean_regrets(done))
    )
    windows = _documents(records.windows.rename(columns={"window": "document"}), done)
    means = done.groupby("row")[[name for name in wide.columns if name in done]].mean()
    return VariantTables(_join_speeds(summary, sittings), runs, documents, windows, means)


def _number_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Number the variants. A run that failed before it knew its text or protocol belongs to the others of its variant."""
    table = runs.copy()
    provenance = table["provenance"]
    table["text_digest"] = [
        (p.get("digests") or {}).get("text") or d
        for p, d in zip(provenance, table["data_digest"], strict=True)
    ]
    for name, of in (
        ("budget", budgets.size_budget),
        ("matched", budgets.describe_size_budget),
        ("length", budgets.describe_length),
        ("learning_rate", budgets.learning_rate),
        ("trials", budgets.search_trials),
        ("untuned", budgets.search_edge),
    ):
        table[name] = [of(config) for config in table["config"]]
    table["context"] = [config["size"]["context"] for config in table["config"]]
    table["recipe"] = table["config"].map(recipe)
    table["lossy"] = [bool((p.get("data") or {}).get("lossy")) for p in provenance]
    for name in ("data_digest", "text_digest", "objective", "protocol", "part", "precision"):
        column = table[name].astype(object).where(~table[name].isin(["", "auto"]))
        known = column.groupby(table["variant"]).transform("first")
        table[name] = column.fillna(known).fillna("auto" if name == "objective" else "").astype(str)
    table["row"] = table.groupby(VARIANT_KEY, sort=False).ngroup()
    return table


def _metrics_by_run(values: pd.DataFrame) -> pd.DataFrame:
    """A row a run, a column a metric: the mean of its samples."""
    numbers = values.assign(value=pd.to_numeric(values["value"], errors="coerce").astype(float))
    return numbers.groupby(["run", "metric"])["value"].mean().unstack("metric")


def _describe_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """What a variant is, how many of its seeds are done, and what became of the others."""
    names = [
        "arch",
        "family",
        "subject",
        "label",
        "data",
        "tokenizer",
        "size",
        *VARIANT_KEY,
        "lossy",
        "text_digest",
        "budget",
        "matched",
        "length",
        "context",
        "recipe",
        "learning_rate",
        "trials",
        "untuned",
    ]
    groups = runs.groupby("row")
    facts = groups[names].first().assign(stale=groups["stale"].any())
    labels = facts["label"].astype(str)  # of no run at all it would be a column of numbers
    facts["label"] = labels.where(~facts["control"].astype(bool), labels + CONTROL_SUFFIX)
    states = runs.groupby(["row", "status"]).size().unstack(fill_value=0)
    for name in ("done", "failed", "skipped", UNREADABLE, "unfinished"):
        facts[f"count_{name}"] = states.get(name, 0)
    facts["seeds"] = (
        runs[runs["status"] == "done"]
        .groupby("row")["seed"]
        .nunique()
        .reindex(facts.index, fill_value=0)
    )
    facts["seeds_asked"] = groups["seed"].nunique()
    kinds = [
        "count_done",
        "count_failed",
        "count_skipped",
        f"count_{UNREADABLE}",
        "count_unfinished",
    ]
    facts["status"] = (facts[kinds] > 0).idxmax(axis=1).astype(str).str.removeprefix("count_")
    wrong = runs[runs["status"] != "done"]
    said = wrong.assign(said=wrong["reason"].where(wrong["reason"] != "", wrong["status"]))
    table = (
        said.groupby(["row", "status", "said"], sort=False)["seed"].agg(_join_seeds).reset_index()
    )
    table["line"] = (
        "seed " + table["seed"].astype(str) + " " + table["status"] + ": " + table["said"]
    )
    facts["reason"] = table.groupby("row")["line"].agg("; ".join).reindex(facts.index).fillna("")
    return facts


def _join_seeds(column: pd.Series) -> str:
    return ", ".join(str(seed) for seed in sorted(column))


def _documents(documents: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """Nats of each held-out document, averaged over a variant's seeds."""
    joined = documents.merge(done[["run", "row"]], on="run")
    return (
        joined.astype({"nats": float, "bytes": float})
        .groupby(["row", "document"])
        .agg(nats=("nats", "mean"), bytes=("bytes", "first"))
    )


def document_variance_table(documents: pd.DataFrame) -> pd.DataFrame:
    """Variance of Σ nats / (Σ bytes ln 2) over documents by the jackknife, and how many of equal size would say as much (Kish
    1965), as `pairs` has them of differences; a row a variant, all at once.
    """
    if documents.empty:
        return pd.DataFrame(columns=["document_variance", "documents"])
    groups = documents.groupby("row")
    totals = groups.sum()
    ratio = totals["nats"] / totals["bytes"]
    rows = documents.index.get_level_values("row")
    mean, whole = (
        pd.Series(of.reindex(rows).to_numpy(), index=documents.index)
        for of in (ratio, totals["bytes"])
    )
    sizes = documents["bytes"].where(documents["bytes"] < whole)  # one document alone: unknown
    change = jackknife_changes(documents["nats"], sizes, mean, whole)
    count = groups.size()
    variance = (
        change.mul(change).groupby(level="row").sum()
        * ((count - 1) / count).where(count > 1)
        / LOG2**2
    )
    worth = totals["bytes"].pow(2) / documents["bytes"].pow(2).groupby(level="row").sum()
    return pd.DataFrame(
        {"document_variance": variance.astype(float), "documents": worth.astype(float)}
    )


def _scores(done: pd.DataFrame, documents: pd.DataFrame) -> pd.DataFrame:
    """Bits per byte with its interval; perplexities as the exponential of mean nats, never as a mean of perplexities."""
    done = done.reindex(columns=[*done.columns, *(set(SCORE_COLUMNS) - set(done.columns))])
    groups = done.groupby("row")
    known = document_variance_table(documents)
    rows: dict[int, dict[str, float | str]] = {}
    for row, column in groups["bits_per_byte"]:
        seeds = column.dropna().to_numpy(dtype=float)
        there = row in known.index
        variance, count = (
            float(known[name].loc[row]) if there else float("nan")
            for name in ("document_variance", "documents")
        )
        found = mean_interval(seeds, variance, count)
        deviation = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else float("nan")
        rows[int(str(row))] = {
            "bits_per_byte": found.value, "bits_per_byte_low": found.low, "bits_per_byte_high": found.high,
            "bits_per_byte_seed_deviation": deviation, "bits_per_byte_basis": found.basis,
            "document_variance": variance, "documents": count,
        }  # fmt: skip
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=list(next(iter(rows.values()))) if rows else ["bits_per_byte"]
    )
    for name in ("perplexity", "pseudo_perplexity"):
        table[name] = np.exp(
            done[name].astype(float).map(np.log, na_action="ignore").groupby(done["row"]).mean()
        )
    # every seed is asked the same positions: their sampling error does not shrink with seeds, the seeds' own spread does
    sampled = done["pseudo_perplexity_standard_error"].astype(float).groupby(done["row"]).mean()
    pseudo = done["pseudo_perplexity"].astype(float).groupby(done["row"])
    spread = (pseudo.var() / pseudo.count()).fillna(0.0)
    table["pseudo_perplexity_standard_error"] = (sampled.pow(2) + spread).pow(0.5)
    return table


SCORE_COLUMNS = [
    "bits_per_byte",
    "perplexity",
    "pseudo_perplexity",
    "pseudo_perplexity_standard_error",
]
REGRET_COLUMNS = [
    "regret",
    "regret_standard_error",
    "nats_per_token",
    "oracle_nats_per_token",
    "accuracy",
    "oracle_accuracy",
]
SAMPLED_COLUMNS = EXTRA_SUMMARY_COLUMNS[
    EXTRA_SUMMARY_COLUMNS.index("left_to_right_bits_per_byte") :
]  # metrics on samples, of runs of either kind
COST_COLUMNS = (
    "parameters parameters_active parameters_without_embedding parameters_in_products width budget_slack train_seconds "
    "tokens_seen state_bytes"
).split()


def _mean_regrets(done: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds on sources whose best possible loss is known, with the error over their windows and the seeds."""
    table = done.reindex(columns=["row", *REGRET_COLUMNS]).astype(float)
    means = table.groupby("row")[REGRET_COLUMNS].mean()
    regrets = table.groupby("row")[
        "regret"
    ]  # every seed is scored on the same windows: their error does not shrink with seeds
    spread = (regrets.var() / regrets.count()).fillna(0.0)
    means["regret_standard_error"] = (means["regret_standard_error"].pow(2) + spread).pow(0.5)
    return means


def _sampled_means(done: pd.DataFrame) -> pd.DataFrame:
    """What stands beside the headline: means over seeds, and of errors, as every seed is asked the same sample."""
    return (
        done.reindex(columns=["row", *SAMPLED_COLUMNS])
        .astype(float)
        .groupby("row")[list(SAMPLED_COLUMNS)]
        .mean()
    )


def _cost_medians(done: pd.DataFrame) -> pd.DataFrame:
    """Counts and clocks: the median over seeds."""
    table = done.reindex(columns=["row", *COST_COLUMNS])
    return table.astype(float).groupby("row")[COST_COLUMNS].median()


def _join_speeds(summary: pd.DataFrame, sittings: list[MeasuredSession]) -> pd.DataFrame:
    """Join the medians of the machine that measured most; other machines' numbers have tables of their own."""
    table = summary.reindex(
        columns=list(
            dict.fromkeys(
                [*summary.columns, *SCORE_COLUMNS, *SUMMARY_COLUMNS, *EXTRA_SUMMARY_COLUMNS]
            )
        )
    )
    table[["machine", "sitting"]] = table[["machine", "sitting"]].astype(object)
    if not sittings:
        return table
    machine = max(sittings, key=lambda sitting: (len(sitting.medians), sitting.name)).machine
    for sitting in (
        one for one in sittings if one.machine == machine
    ):  # a later sitting stands over an earlier one
        there = table["subject"].isin(sitting.medians.index)
        found = sitting.medians.reindex(columns=list(MEASURED_METRICS)).reindex(
            table.loc[there, "subject"]
        )
        known = table.loc[there].set_index("subject")["state_bytes"]
        refused = np.array(
            [(str(name), scalar_point("state_bytes")) in sitting.gaps for name in found.index],
            dtype=bool,
        )  # that stands
        found["state_bytes"] = found["state_bytes"].fillna(known.where(~refused))
        table.loc[there, list(MEASURED_METRICS)] = found.to_numpy()
        table.loc[there, ["machine", "sitting"]] = [machine, sitting.name]
    return table


def summary_table(tables: VariantTables, more: pd.DataFrame) -> pd.DataFrame:
    """summary.csv. `more`: further columns, by row."""
    table = (
        tables.summary[[*SUMMARY_COLUMNS, *EXTRA_SUMMARY_COLUMNS]]
        .join(more)
        .sort_values(["data", "data_digest", "objective", "arch", "variant"])
    )
    whole = [
        "parameters",
        "seeds",
        "parameters_without_embedding",
        "parameters_in_products",
        "parameters_active",
        "width",
        "tokens_seen",
        "seeds_asked",
    ]
    return table.assign(
        **{name: table[name].astype(float).round().astype("Int64") for name in whole}
    )
