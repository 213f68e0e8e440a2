"""What may stand beside what: rows that share text, budget and protocol, and the sentence why the others stand apart."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.analysis import budgets, families
from bench.analysis.aggregate import CONTROL_SUFFIX, VariantTables
from bench.analysis.baselines import Baselines, select_baselines
from bench.analysis.sessions import MeasuredSession
from bench.analysis.time_to_target import Target, build_target
from bench.analysis.verdicts import Verdicts, build_verdicts
from bench.records.labels import variant_labels
from bench.records.tables import Records

COMPARISON_KEY = ["text_digest", "matched", "context", "amount"]
TABLE_KEY = [
    "protocol",
    "part",
    "tokenizer",
    "data_digest",
]  # within a comparison, what keeps rows from one table
MAX_SHORT_LABEL = 16  # a longer label is written as a number in figures
DIFFERENCE_NOTES = {
    "text_digest": "The text differs ({}): scores on different text can not be compared.",
    "matched": "The budget differs ({}): a larger model is not a better architecture.",
    "context": "The context differs ({}): more context makes every score better.",
    "amount": "The length of training differs ({}): more of it is no merit of an architecture.",
    "protocol": "The protocol differs ({}): how much context is visible changes the score.",
    "part": "The scored part differs ({}): validation and test text are not the same text.",
    "tokenizer": "The tokenizer differs ({}): what is learned is then not the architecture’s doing alone.",
    "data_digest": "The tokens differ ({}), though text and tokenizer bear the same names: another vocabulary was learned.",
}


@dataclass(frozen=True)
class Comparison:
    """Rows that were trained on the same text under the same budget."""

    name: str
    rows: (
        pd.DataFrame
    )  # of the summary, with their labels within this comparison, `short` and `colour`
    runs: pd.DataFrame
    likelihoods: tuple[
        pd.DataFrame, ...
    ]  # causal rows, best first; one table a protocol, part and tokenizer
    verdicts: tuple[Verdicts, ...]  # of each of them
    targets: tuple[Target | None, ...]  # of each of them
    baselines: tuple[Baselines, ...]  # of each of them
    regrets: tuple[
        pd.DataFrame, ...
    ]  # causal rows on a source whose best possible loss is known, the nearest to it first
    pseudo: tuple[pd.DataFrame, ...]  # encoders: never beside the above
    sessions: tuple[MeasuredSession, ...]  # those that measured some of the rows
    orders: pd.DataFrame  # seed, tokenizer, digests of the order of blocks
    equal_order: bool

    @property
    def title(self) -> str:
        """What all of it shares."""
        amount = str(self.rows["amount"].iloc[0])
        said = (
            f"{', '.join(sorted(set(self.rows['data'])))}, at most {self.rows['matched'].iloc[0]}"
        )
        return f"{said}, {amount}" if amount else said


@dataclass(frozen=True)
class Inputs:
    """What comparisons are made from."""

    records: Records
    tables: VariantTables
    sessions: list[MeasuredSession]
    target: float | None


def build_comparisons(inputs: Inputs) -> list[Comparison]:
    """Cut the finished rows into comparisons, the largest first."""
    tables = inputs.tables
    finished = tables.summary[tables.summary["seeds"] > 0]
    finished = finished.assign(amount=_training_amounts(finished))
    groups = [_relabel(rows, tables) for _, rows in finished.groupby(COMPARISON_KEY, sort=True)]
    named = {
        label: family
        for rows in groups
        for label, family in zip(rows["label"], rows["family"], strict=True)
    }
    alone = {label for rows in groups for label in rows.loc[~rows["control"], "label"]}
    colours = families.assign_colours({label: named[label] for label in sorted(alone)})
    colours |= {label + CONTROL_SUFFIX: number for label, number in colours.items()}
    groups.sort(key=lambda rows: -len(rows))
    return [
        _build_comparison(
            f"comparison-{n + 1}",
            rows.assign(colour=rows["label"].map(colours).fillna(0).astype(int)),
            inputs,
        )
        for n, rows in enumerate(groups)
    ]


def _training_amounts(rows: pd.DataFrame) -> "pd.Series[str]":
    """What set the length of each row's training, tokens or a budget, where that is not the same for all. Else nothing."""
    said = [
        f"{n:,.0f} tokens" if of == budgets.TOKENS else str(of)
        for n, of in zip(rows["tokens_seen"], rows["length"], strict=True)
    ]
    amounts = pd.Series(said, rows.index)
    several = (
        amounts.groupby([rows["text_digest"], rows["matched"], rows["context"]]).transform(
            "nunique"
        )
        > 1
    )
    return amounts.where(several, "")


def _relabel(rows: pd.DataFrame, tables: VariantTables) -> pd.DataFrame:
    """Labels that only say what differs inside this comparison, and a short form of each for figures."""
    runs = tables.runs[tables.runs["row"].isin(rows.index)].drop_duplicates("row").set_index("row")
    named = runs.assign(label=variant_labels(runs))["label"]
    again = rows["control"].map({True: CONTROL_SUFFIX, False: ""})
    rows = rows.assign(label=named.reindex(rows.index) + again).sort_values("label")
    return rows.assign(short=short_labels(rows))


def short_labels(rows: pd.DataFrame) -> list[str]:
    """Return what figures call each row: its label, or its architecture with a number."""
    return [
        label if len(label) <= MAX_SHORT_LABEL else f"{arch[:12]} #{n}"
        for n, (label, arch) in enumerate(zip(rows["label"], rows["arch"], strict=True), 1)
    ]


def _build_comparison(name: str, rows: pd.DataFrame, inputs: Inputs) -> Comparison:
    tables, records = inputs.tables, inputs.records
    runs = tables.runs[tables.runs["row"].isin(rows.index) & (tables.runs["status"] == "done")]
    recipes = [f"{c['train']['steps']:,} steps of {c['train']['batch']}" for c in runs["config"]]
    keys = [
        "seed",
        "tokenizer",
        "recipe",
        "data_digest",
    ]  # another length or vocabulary has another order, and fairly so
    orders = (
        runs.assign(recipe=recipes)
        .groupby(keys)["order_digest"]
        .agg(lambda column: sorted(set(column)))
        .reset_index()
    )
    likelihoods = tuple(
        t.sort_values("bits_per_byte") for t in _split_tables(rows[rows["bits_per_byte"].notna()])
    )
    return Comparison(
        name=name,
        rows=rows,
        runs=runs,
        likelihoods=likelihoods,
        verdicts=tuple(build_verdicts(table, tables) for table in likelihoods),
        targets=tuple(
            build_target(table, tables, records.curves, inputs.target) for table in likelihoods
        ),
        baselines=tuple(select_baselines(records, table) for table in likelihoods),
        sessions=tuple(
            one for one in inputs.sessions if one.medians.index.isin(rows["subject"]).any()
        ),
        regrets=tuple(t.sort_values("regret") for t in _split_tables(rows[rows["regret"].notna()])),
        pseudo=tuple(
            t.sort_values("pseudo_perplexity")
            for t in _split_tables(rows[rows["pseudo_perplexity"].notna()])
        ),
        orders=orders,
        equal_order=bool((orders["order_digest"].str.len() == 1).all()),
    )


def _split_tables(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The largest table first."""
    yield from sorted(
        (table for _, table in rows.groupby(TABLE_KEY)), key=lambda table: -len(table)
    )


def explain_split(tables: list[pd.DataFrame], columns: list[str]) -> list[str]:
    """A sentence for each column in which whole tables differ."""
    everything = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    said = []
    for column in columns:
        values = [str(value) for value in sorted(set(everything[column]))]
        if len(values) > 1 and not (
            column == "data_digest" and everything["tokenizer"].nunique() > 1
        ):
            said.append(DIFFERENCE_NOTES[column].format(" · ".join(values)))
    return said
