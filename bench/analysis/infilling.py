"""Infilling scores of encoders and causal models on the same hidden tokens."""

import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.analysis.comparisons import Comparison
from bench.analysis.protocols import option_texts

ERRORS = ["filling_nats_standard_error", "filling_accuracy_standard_error"]


def infilling_scores(part: Comparison, variants: VariantTables) -> list[pd.DataFrame]:
    """Return the rows of each text that an encoder filled in, the best first.

    `nats_error` and `accuracy_error` are standard errors over the hidden tokens of all seeds,
    `tokens` their number, `seeds_differ` whether rows have other seeds and so other tokens.
    """
    rows = part.rows[part.rows["filling_nats"].notna()]
    key = [rows["data_digest"], rows["part"], option_texts(rows, variants, "fillings")]
    return [
        _with_errors(group.sort_values("filling_nats"), variants)
        for _, group in rows.groupby(key, sort=False)
        if group["pseudo_perplexity"].notna().any()
    ]


def _with_errors(rows: pd.DataFrame, variants: VariantTables) -> pd.DataFrame:
    done = variants.runs["status"].eq("done") & variants.runs["row"].isin(rows.index)
    runs = variants.runs[done]
    numbers = runs.reindex(columns=[*ERRORS, "filling_tokens"]).astype(float)
    squares = numbers[ERRORS].pow(2).groupby(runs["row"])
    errors = squares.sum().pow(0.5).div(squares.size(), axis=0)  # every seed has other tokens
    seeds = {tuple(sorted(column)) for _, column in runs.groupby("row")["seed"]}
    return rows.assign(
        nats_error=errors[ERRORS[0]],
        accuracy_error=errors[ERRORS[1]],
        tokens=numbers["filling_tokens"].groupby(runs["row"]).sum(),
        seeds_differ=len(seeds) > 1,
    )
