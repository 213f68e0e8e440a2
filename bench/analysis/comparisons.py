"""Group rows that share text, budget and protocol, and explain why the others are separate."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.analysis import budgets
from bench.analysis.aggregate import CONTROL_SUFFIX, VariantTables
from bench.analysis.baselines import Baselines, select_baselines
from bench.analysis.sessions import MeasuredSession
from bench.analysis.time_to_target import Target, build_target
from bench.analysis.verdicts import Verdicts, build_verdicts
from bench.records.labels import variant_labels
from bench.records.tables import Records

COMPARISON_KEY = ["text_digest", "matched", "context", "amount"]
TABLE_KEY = ["protocol", "part", "tokenizer", "data_digest"]  # of tables within a comparison
DIFFERENCE_NOTES = {
    "text_digest": "The text differs ({}): scores on different text cannot be compared.",
    "matched": "The budget differs ({}): a larger model is not a better architecture.",
    "context": "The context differs ({}): more context makes every score better.",
    "amount": "The length of training differs ({}): more of it is no merit of an architecture.",
    "protocol": "The protocol differs ({}): how much context is visible changes the score.",
    "part": "The scored part differs ({}): validation and test text are not the same text.",
    "tokenizer": "The tokenizer differs ({}): scores then do not depend on the architecture alone.",
    "data_digest": "The tokens differ ({}), although text and tokenizer have the same names: "
    "another vocabulary was learned.",
}


@dataclass(frozen=True)
class Comparison:
    """Rows that were trained on the same text under the same budget."""

    name: str
    rows: pd.DataFrame  # of the summary, with `label` in this comparison
    runs: pd.DataFrame
    likelihoods: tuple[pd.DataFrame, ...]  # causal rows, best first, a table per TABLE_KEY
    verdicts: tuple[Verdicts, ...]  # of each of them
    targets: tuple[Target | None, ...]  # of each of them
    baselines: tuple[Baselines, ...]  # of each of them
    regrets: tuple[pd.DataFrame, ...]  # causal rows on sources of known optimum, lowest first
    pseudo: tuple[pd.DataFrame, ...]  # encoders: never ranked with the above
    sessions: tuple[MeasuredSession, ...]  # those that measured some of the rows
    orders: pd.DataFrame  # seed, tokenizer, digests of the order of blocks
    equal_order: bool

    @property
    def title(self) -> str:
        """Return what all rows share: data, size budget and, where it differs, training."""
        matched, amount = self.rows[["matched", "amount"]].iloc[0].map(str)
        text = f"{', '.join(sorted(set(self.rows['data'])))}, at most {matched}"
        return f"{text}, {amount}" if amount else text


def build_comparisons(
    records: Records, tables: VariantTables, sessions: list[MeasuredSession], target: float | None
) -> list[Comparison]:
    """Cut the finished rows into comparisons, the largest first; `target` as in `build_target`."""
    finished = tables.summary[tables.summary["seeds"] > 0]
    finished = finished.assign(amount=_training_amounts(finished))
    groups = [_relabel(rows, tables) for _, rows in finished.groupby(COMPARISON_KEY, sort=True)]
    groups.sort(key=lambda rows: -len(rows))
    return [
        _build_comparison(f"comparison-{number}", rows, records, tables, sessions, target)
        for number, rows in enumerate(groups, 1)
    ]


def _training_amounts(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return each row's training length, tokens or a budget; empty where all share one."""
    texts = [
        f"{n:,.0f} tokens" if of == budgets.TOKENS else str(of)
        for n, of in zip(rows["tokens_seen"], rows["length"], strict=True)
    ]
    amounts = pd.Series(texts, rows.index)
    groups = amounts.groupby([rows[column] for column in COMPARISON_KEY[:-1]])
    return amounts.where(groups.transform("nunique") > 1, "")


def _relabel(rows: pd.DataFrame, tables: VariantTables) -> pd.DataFrame:
    """Return rows with labels of what differs in their comparison."""
    runs = tables.runs[tables.runs["row"].isin(rows.index)].drop_duplicates("row").set_index("row")
    named = runs.assign(label=variant_labels(runs))["label"]
    suffixes = rows["control"].map({True: CONTROL_SUFFIX, False: ""})
    return rows.assign(label=named.reindex(rows.index) + suffixes).sort_values("label")


def _build_comparison(
    name: str,
    rows: pd.DataFrame,
    records: Records,
    tables: VariantTables,
    sessions: list[MeasuredSession],
    target: float | None,
) -> Comparison:
    runs = tables.finished(rows.index)
    likelihoods = _split_tables(rows, "bits_per_byte")
    orders, read = _block_orders(runs), set(runs["order_digest"])
    measured = (one for one in sessions if one.medians.index.isin(rows["subject"]).any())
    return Comparison(
        name=name,
        rows=rows,
        runs=runs,
        likelihoods=likelihoods,
        verdicts=tuple(build_verdicts(one, tables) for one in likelihoods),
        targets=tuple(build_target(one, tables, records.curves, target) for one in likelihoods),
        baselines=tuple(select_baselines(records, one, read) for one in likelihoods),
        sessions=tuple(measured),
        regrets=_split_tables(rows, "regret"),
        pseudo=_split_tables(rows, "pseudo_perplexity"),
        orders=orders,
        equal_order=bool((orders["order_digest"].str.len() == 1).all()),
    )


def _block_orders(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the digests of the order of blocks; runs may differ in it by length or vocabulary."""
    recipes = [f"{c['train']['steps']:,} steps of {c['train']['batch']}" for c in runs["config"]]
    groups = runs.assign(recipe=recipes).groupby(["seed", "tokenizer", "recipe", "data_digest"])
    digests = groups["order_digest"].agg(lambda column: sorted(set(column)))
    return digests.reset_index()


def _split_tables(rows: pd.DataFrame, score: str) -> tuple[pd.DataFrame, ...]:
    """Return a table per TABLE_KEY of the rows with a score, the largest first, in its order."""
    tables = [table for _, table in rows[rows[score].notna()].groupby(TABLE_KEY)]
    return tuple(table.sort_values(score) for table in sorted(tables, key=len, reverse=True))


def explain_split(tables: list[pd.DataFrame], columns: list[str]) -> list[str]:
    """Return a sentence for each column in which tables differ."""
    rows = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    values = {column: [str(value) for value in sorted(set(rows[column]))] for column in columns}
    if len(values.get("tokenizer", [])) > 1:
        values.pop("data_digest", None)  # other tokenizers make other tokens
    return [
        DIFFERENCE_NOTES[column].format(" · ".join(own))
        for column, own in values.items()
        if len(own) > 1
    ]


MIN_CERTAIN_ACCURACY = 0.9999  # of the oracle: accuracy then says more than nats


def oracle_is_certain(rows: pd.DataFrame) -> bool:
    """Return whether the best possible prediction is always right on a source."""
    return bool(rows["oracle_accuracy"].min() >= MIN_CERTAIN_ACCURACY)


def regret_tables(comparisons: Sequence[Comparison]) -> list[tuple[str, pd.DataFrame]]:
    """Return the tables of all sources without A/A controls, with their titles, in that order."""
    tables = [table[~table["control"]] for part in comparisons for table in part.regrets]
    budgets = {(int(table["budget"].iloc[0]), int(table["context"].iloc[0])) for table in tables}
    titled = []
    for table in tables:
        first = table.iloc[0]
        detail = f", {first['budget']:,} parameters, {first['context']} tokens"
        titled.append((f"{first['data']}{detail if len(budgets) > 1 else ''}", table))
    return sorted(titled, key=lambda pair: pair[0])
