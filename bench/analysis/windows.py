"""A true likelihood of the same sampled windows, encoders and causal models in one ranking."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.aggregate import VariantTables, document_variance_table
from bench.analysis.comparisons import Comparison
from bench.analysis.verdicts import Verdicts, compare_groups
from bench.stats.intervals import mean_interval
from bench.stats.pairwise import Groups

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
    groups = _groups(rows, windows, variants)
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


def _groups(rows: pd.DataFrame, windows: pd.DataFrame, variants: VariantTables) -> Groups:
    runs = variants.runs[variants.runs["status"] == "done"]
    seeds = [
        runs.loc[runs["row"] == row, SCORE].dropna().to_numpy(dtype=float) for row in rows.index
    ]
    if windows.empty:
        return Groups(seeds, np.empty((len(rows), 0)), np.empty(0))
    nats = windows["nats"].unstack("document").reindex(rows.index).to_numpy(dtype=float)
    sizes = windows["bytes"].groupby(level="document").first().to_numpy(dtype=float)
    return Groups(seeds, nats, sizes)
