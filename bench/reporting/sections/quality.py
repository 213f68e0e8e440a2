"""The table of encoders: pseudo-perplexity, never beside a likelihood."""

from typing import Any

import pandas as pd

from bench.analysis.formatting import format_fixed, format_number
from bench.reporting.html_table import (
    Cell,
    Column,
    Table,
    build_table,
    error_cell,
    metric_column,
    value_cell,
)
from bench.reporting.variant_cells import PARAMETERS, SEEDS, VARIANT, further_columns


def _scored(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    part, protocol = first["part"] or "held-out", first["protocol"] or "an unnamed protocol"
    return f"Scored on the {part} part by {protocol}."


def encoder_table(name: str, rows: pd.DataFrame, means: pd.DataFrame) -> Table:
    """Return the table of encoders: pseudo-perplexity, never beside a likelihood."""
    best = float(rows["pseudo_perplexity"].min())
    regret = Column(
        "regret, left to right",
        "nats per token above the best possible, on the sampled windows; ± over them",
        lambda row: error_cell(
            row.left_to_right_regret, row.left_to_right_regret_standard_error, format_fixed
        ),
    )
    columns = [
        VARIANT,
        metric_column("pseudo_perplexity", _pseudo, "± over the sampled positions."),
        Column("to the best", "ratio to the lowest of this table",
               lambda row: value_cell(row.pseudo_perplexity / best, format_fixed)),
        *([regret] if rows["left_to_right_regret"].notna().any() else []),
        PARAMETERS,
        SEEDS,
        *further_columns("pseudo_likelihood", means, {"pseudo_perplexity"}),
    ]  # fmt: skip
    caption = f"{_scored(rows)} Not a likelihood."
    heading = "Pseudo-perplexity, in a table of its own"
    return build_table(name, columns, rows.itertuples(), caption=caption, heading=heading)


def _pseudo(row: Any) -> Cell:
    error = format_number(row.pseudo_perplexity_standard_error, 2)
    return value_cell(row.pseudo_perplexity, lambda value: format_number(value, 4), f"± {error}")
