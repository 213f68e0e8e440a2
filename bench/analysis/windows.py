"""Scores of encoders and causal models on the same samples: windows, and hidden tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.analysis.aggregate import VariantTables, document_variance_table
from bench.analysis.comparisons import Comparison
from bench.analysis.protocols import option_texts
from bench.analysis.verdicts import Verdicts, build_groups, compare_groups
from bench.stats import mean_interval

SCORE = "left_to_right_bits_per_byte"


@dataclass(frozen=True)
class WindowScores:
    """The rows scored on one set of windows, the best first: `score` and `half` of its interval."""

    rows: pd.DataFrame
    verdicts: Verdicts
    count: int  # windows


def window_scores(part: Comparison, variants: VariantTables) -> list[WindowScores]:
    """Return the ranking of each set of windows that an encoder was scored on."""
    return [_rank(rows, windows, variants) for rows, windows in _split(part, variants)]


def _split(
    part: Comparison, variants: VariantTables
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield rows scored on the same windows of the same tokens, with the nats of each window."""
    rows = part.rows[part.rows[SCORE].notna()]
    windows = variants.windows[variants.windows.index.get_level_values("row").isin(rows.index)]
    sets = windows.reset_index().groupby("row")["document"].agg(tuple).reindex(rows.index)
    sets = sets.where(sets.notna(), "")
    for _, group in rows.groupby([rows["data_digest"], rows["part"], sets], sort=False):
        if group["pseudo_perplexity"].notna().any():  # else the whole text says more than a sample
            own = windows[windows.index.get_level_values("row").isin(group.index)]
            yield group.sort_values(SCORE), own


def _rank(rows: pd.DataFrame, windows: pd.DataFrame, variants: VariantTables) -> WindowScores:
    groups = build_groups(rows.index, variants, SCORE, windows)
    spread = document_variance_table(windows).reindex(rows.index)
    spans = [
        mean_interval(seeds, float(variance), int(count) if count == count else 0)
        for seeds, variance, count in zip(
            groups.seeds, spread["document_variance"], spread["documents"], strict=True
        )
    ]
    scored = rows.assign(score=[one.value for one in spans], half=[one.half for one in spans])
    count = windows.index.get_level_values("document").nunique()
    return WindowScores(scored, compare_groups(rows, groups), count)


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
    runs = variants.finished(rows.index)
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
