"""Synthetic sources with a known optimum: the regret of each row, per source and overall."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.comparisons import Comparison, oracle_is_certain, regret_tables
from bench.analysis.formatting import format_fixed, format_percent, plural
from bench.reporting import html_table as ht
from bench.reporting.sentences import say

HANDLED = {
    "regret", "accuracy", "oracle_nats_per_token", "oracle_accuracy", "left_to_right_regret"
}  # fmt: skip


def regret_note(rows: pd.DataFrame) -> str:
    """Return what regret is, and what its standard error covers."""
    return say("regret", rows["seeds"].min() > 1)[0]


def format_regret(value: float, error: float) -> str:
    """Return a regret to three places; up to five where its error is below a thousandth."""
    return format_fixed(value, 3 + (error < 0.001) + (error < 0.0001))


def regret_table(
    name: str, rows: pd.DataFrame, means: pd.DataFrame, folded: bool = False
) -> ht.Table:
    """Return the table of one source, the smallest regret first; `folded` below an overview."""
    best = rows.loc[~rows["control"], "regret"].min()
    columns = [
        ht.VARIANT,
        ht.metric_column("regret", partial(_regret_cell, best), "Below it the standard error."),
        ht.metric_number("nats_per_token", show=partial(format_fixed, places=4)),
        ht.metric_number("accuracy"),
        ht.metric_number("state_bytes"),
        ht.PARAMETERS,
        ht.SEEDS,
        *ht.mean_columns("regret", means, HANDLED),
    ]
    first = rows.iloc[0]
    caption = (
        f"Best possible: {format_fixed(first['oracle_nats_per_token'], 4)} nats per token, "
        f"accuracy {format_percent(first['oracle_accuracy'])}; {first['part']} part, "
        f"{first['protocol']}."
    )
    title = f"The {plural(len(rows), 'row')} of {first['data']}: nats per token, state, parameters"
    about: Any = {"notes": [regret_note(rows)], "folded": title if folded else ""}
    return ht.build_table(name, columns, rows, caption=caption, **about)


def _regret_cell(best: float, row: Any) -> ht.Cell:
    value, error = float(row.regret), float(row.regret_standard_error)
    mark = "best" if not row.control and value == best else ""
    return ht.Cell(format_regret(value, error), value, f"± {format_regret(error, error)}", mark)


def regret_sentences(comparison: Comparison) -> list[str]:
    """Return for each table which rows come nearest to the optimum, and how far off others are."""
    return [_nearest(table[~table["control"]]) for table in comparison.regrets]


def _nearest(rows: pd.DataFrame) -> str:
    first, errors = rows.iloc[0], rows["regret_standard_error"]
    tied = rows["regret"] - first["regret"] < 2 * (errors + errors.iloc[0])
    others = [str(label) for label in rows.loc[tied, "label"] if label != first["label"]]
    texts = [format_regret(value, errors.iloc[0]) for value in (first["regret"], errors.iloc[0])]
    about = (others, oracle_is_certain(rows), len(rows) > 1)
    return say("nearest", first, rows.iloc[-1], *texts, *about)[0]


def regret_overview(comparisons: Sequence[Comparison]) -> ht.Table | None:
    """Return a row per architecture and a column per source; None of fewer than two sources."""
    tables = regret_tables(comparisons)
    if len(tables) < 2:
        return None
    ranks = pd.concat([table.set_index("label")["regret"].rank() for _, table in tables], axis=1)
    order = ranks.fillna(len(ranks)).mean(axis=1).sort_values(kind="stable").index
    rows_of = {row.label: row for _, table in tables for row in table.itertuples()}
    columns = [
        ht.name_column(
            lambda row: ht.text_cell(row.label, str(row.family)), "the best mean rank first"
        ),
        *(_source_column(title, table) for title, table in tables),
    ]
    notes = [
        regret_note(pd.concat([table for _, table in tables])),
        "Where the optimum is always right, the accuracy is given below instead.",
    ]
    return ht.build_table("known-floors", columns, [rows_of[label] for label in order], notes=notes)


def _source_column(title: str, table: pd.DataFrame) -> ht.Column:
    by_label = {row.label: row for row in table.itertuples()}
    best, certain = table["regret"].min(), oracle_is_certain(table)

    def cell(named: Any) -> ht.Cell:
        row: Any = by_label.get(named.label)
        if row is None:
            return ht.EMPTY
        shown = _regret_cell(best, row)
        small = f"accuracy {format_percent(row.accuracy)}" if certain else shown.small
        return replace(shown, small=small)

    return ht.Column(title, "regret, nats per token", cell)
