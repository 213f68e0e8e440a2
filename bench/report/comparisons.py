"""What may stand beside what: rows that share text, budget and protocol, and the sentence why the others stand apart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.reading import labels
from bench.report.statistics import Interval, Numbers, difference, pooled, ratio_variance
from bench.report.tables import LOG2, Tables

KEY = ["text_digest", "budget", "context"]
SHORT = 16  # a longer label is written as a number in figures
ADVICE = {
    "text_digest": "The text differs ({}): scores on different text can not be compared.",
    "budget": "The parameter budget differs ({}): a larger model is not a better architecture.",
    "context": "The context differs ({}): more context makes every score better.",
    "protocol": "The protocol differs ({}): how much context is visible changes the score.",
    "part": "The scored part differs ({}): validation and test text are not the same text.",
}


@dataclass(frozen=True)
class Comparison:
    """Rows that were trained on the same text under the same budget."""

    name: str
    rows: pd.DataFrame  # of the summary, with their labels within this comparison, `short` and `colour`
    runs: pd.DataFrame
    likelihoods: tuple[pd.DataFrame, ...]  # causal rows, best first; one table a protocol and part
    pseudo: tuple[pd.DataFrame, ...]  # encoders: never beside the above
    orders: pd.DataFrame  # seed, tokenizer, digests of the order of blocks
    equal_order: bool


def comparisons(tables: Tables) -> list[Comparison]:
    """Cut the finished rows into comparisons, the largest first."""
    finished = tables.summary[tables.summary["seeds"] > 0]
    groups = [_relabelled(rows, tables) for _, rows in finished.groupby(KEY, sort=True)]
    names = sorted({label for rows in groups for label in rows["label"]})
    colours = {label: number for number, label in enumerate(names)}
    groups.sort(key=lambda rows: -len(rows))
    return [
        _comparison(f"comparison-{n + 1}", rows.assign(colour=rows["label"].map(colours)), tables)
        for n, rows in enumerate(groups)
    ]


def _relabelled(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Labels that only say what differs inside this comparison, and a short form of each for figures."""
    runs = tables.runs[tables.runs["row"].isin(rows.index)].drop_duplicates("row").set_index("row")
    named = runs.assign(label=labels(runs))["label"]
    rows = rows.assign(label=named.reindex(rows.index)).sort_values("label")
    numbered = enumerate(zip(rows["label"], rows["arch"], strict=True), 1)
    return rows.assign(short=[label if len(label) <= SHORT else f"{arch[:12]} #{n}" for n, (label, arch) in numbered])


def _comparison(name: str, rows: pd.DataFrame, tables: Tables) -> Comparison:
    runs = tables.runs[tables.runs["row"].isin(rows.index) & (tables.runs["status"] == "done")]
    recipes = [f"{c['train']['steps']:,} steps of {c['train']['batch']}" for c in runs["config"]]
    keys = ["seed", "tokenizer", "recipe", "data_digest"]  # another length or vocabulary has another order, and fairly so
    orders = runs.assign(recipe=recipes).groupby(keys)["order_digest"].agg(lambda column: sorted(set(column))).reset_index()
    return Comparison(
        name=name,
        rows=rows,
        runs=runs,
        likelihoods=tuple(t.sort_values("bits_per_byte") for t in _apart(rows[rows["bits_per_byte"].notna()])),
        pseudo=tuple(t.sort_values("pseudo_perplexity") for t in _apart(rows[rows["pseudo_perplexity"].notna()], "tokenizer")),
        orders=orders,
        equal_order=bool((orders["order_digest"].str.len() == 1).all()),
    )


def _apart(rows: pd.DataFrame, *further: str) -> Iterator[pd.DataFrame]:
    for _, table in rows.groupby(["protocol", "part", *further]):
        yield table


def why_apart(tables: list[pd.DataFrame], columns: list[str]) -> list[str]:
    """A sentence for each column in which whole tables differ."""
    everything = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    said = []
    for column in columns:
        values = sorted({str(value) for value in everything[column]})
        if len(values) > 1:
            said.append(ADVICE[column].format(" · ".join(values)))
    return said


def against(best: int, other: int, table: pd.DataFrame, tables: Tables) -> Interval:
    """other − best in bits per byte: seed variance pooled over the table, documents paired."""
    seeds = {int(str(row)): _seeds(int(str(row)), tables) for row in table.index}
    variance, documents = float("nan"), 0
    have = set(tables.documents.index.get_level_values("row"))
    if best in have and other in have:
        pair = tables.documents.loc[other].add_suffix("_other").join(tables.documents.loc[best].add_suffix("_best"), how="inner")
        if len(pair) == len(tables.documents.loc[best]) == len(tables.documents.loc[other]):
            gap = (pair["nats_other"] - pair["nats_best"]).to_numpy(dtype=float)
            variance, documents = ratio_variance(gap, pair["bytes_best"].to_numpy(dtype=float)) / LOG2**2, len(pair)
    return difference(seeds[other], seeds[best], pooled(list(seeds.values())), variance, documents)


def _seeds(row: int, tables: Tables) -> Numbers:
    runs = tables.runs
    return np.asarray(runs.loc[(runs["row"] == row) & (runs["status"] == "done"), "bits_per_byte"].dropna(), dtype=np.float64)
