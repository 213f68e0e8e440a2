"""Encoders and causal models at the encoder's own task: a hidden token."""

import pandas as pd

from bench.analysis.formatting import format_count, format_fixed, format_percent
from bench.reporting.html_table import Table, build_table, error_cell, metric_column, value_cell
from bench.reporting.variant_cells import SEEDS, VARIANT, further_columns

HANDLED = {"filling_nats", "filling_accuracy", "filling_tokens"}
CAPTION = (
    "One token hidden, all others of its window shown, the same ones to all rows of a seed. An "
    "encoder predicts it in one pass. A causal model gets the same information: each candidate "
    "token is inserted, the window scored to its end, and the probabilities compared by Bayes' "
    "rule. Few tokens are scored: mind the standard errors."
)


def infilling_table(name: str, rows: pd.DataFrame, means: pd.DataFrame) -> Table:
    """Return the table of one text, the best first."""
    best = rows.loc[~rows["control"], "filling_nats"].min()
    columns = [
        VARIANT,
        metric_column(
            "filling_nats",
            lambda row: error_cell(
                row.filling_nats,
                row.nats_error,
                format_fixed,
                "best" if row.filling_nats == best else "",
            ),
            "Below it the standard error.",
        ),
        metric_column(
            "filling_accuracy",
            lambda row: error_cell(row.filling_accuracy, row.accuracy_error, format_percent),
            "Below it the standard error.",
        ),
        metric_column(
            "filling_tokens", lambda row: value_cell(row.tokens, format_count), "Of all seeds."
        ),
        SEEDS,
        *further_columns("infilling", means, HANDLED),
    ]
    different = "Rows have different seeds, and so were scored on different tokens."
    return build_table(
        name,
        columns,
        rows.itertuples(),
        caption=CAPTION,
        notes=[different] if rows["seeds_differ"].any() else [],
        heading="Filling in one hidden token",
    )
