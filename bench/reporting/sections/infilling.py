"""Encoders and causal models at the encoder's own task, with the same information: which token was hidden?"""

import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_count, format_fixed, format_percent
from bench.analysis.rows import each
from bench.reporting.html_table import Cell, Table, name_cell, seeds_cell
from bench.reporting.sections.protocols import amounts

COLUMNS = [
    ("architecture", "a row is a variant; seeds are averaged"),
    ("nats of the hidden token", "lower is better; below it the standard error"),
    ("accuracy", "how often the likeliest token is the hidden one; below it the standard error"),
    ("hidden tokens", "asked in all seeds together"),
    ("seeds", "finished seeds"),
]


def tabulate(part: Comparison, tables: VariantTables) -> list[Table]:
    """A table for each text that an encoder filled in, the best first."""
    found = []
    there = part.rows[part.rows["filling_nats"].notna()]
    asked = amounts(there, tables, "fillings")
    for number, (_, rows) in enumerate(
        there.groupby([there["data_digest"], there["part"], asked], sort=False)
    ):
        if rows["pseudo_perplexity"].notna().any():
            found.append(
                _table(
                    f"{part.name}-fillings-{number}",
                    rows.sort_values("filling_nats"),
                    tables,
                )
            )
    return found


def _table(name: str, rows: pd.DataFrame, tables: VariantTables) -> Table:
    runs = tables.runs[(tables.runs["status"] == "done") & tables.runs["row"].isin(rows.index)]
    names = ["filling_nats_standard_error", "filling_accuracy_standard_error"]
    squares = runs.reindex(columns=names).astype(float).pow(2).groupby(runs["row"])
    errors = squares.sum().pow(0.5).div(squares.size(), axis=0)  # every seed is asked other tokens
    best = rows.loc[~rows["control"], "filling_nats"].min()
    asked = (
        runs.reindex(columns=["row", "filling_tokens"])
        .astype(float)
        .groupby("row")["filling_tokens"]
        .sum()
    )
    cells = []
    for row in each(rows):
        nats, accuracy = errors.loc[row.Index]
        mark = "best" if row.filling_nats == best else ""
        cells.append(
            [
                name_cell(row),
                Cell(
                    format_fixed(row.filling_nats),
                    row.filling_nats,
                    f"± {format_fixed(nats)}",
                    mark,
                ),
                Cell(
                    format_percent(row.filling_accuracy),
                    row.filling_accuracy,
                    f"± {format_percent(accuracy)}",
                ),
                Cell(format_count(asked[row.Index]), float(asked[row.Index])),
                seeds_cell(row),
            ]
        )
    caption = (
        "One token hidden, all others of its window shown, the same ones to all of a seed. An encoder answers at once. A causal "
        "model is asked with the same information: each token that could stand there is put in, the window read to its end, and "
        "the probabilities compared by Bayes’ rule. Few tokens are asked: mind the standard errors."
    )
    seeds = {tuple(sorted(column)) for _, column in runs.groupby("row")["seed"]}
    notes = (
        ["Rows have different seeds, and so were asked different tokens."] if len(seeds) > 1 else []
    )
    return Table(name, caption, COLUMNS, cells, notes, "Filling in one hidden token")
