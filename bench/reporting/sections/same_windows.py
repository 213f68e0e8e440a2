"""Encoders and causal models in one ranking: a true likelihood of the same windows, token by token from left to right."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.aggregate import VariantTables, document_variance_table
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import NO_VALUE, format_fixed
from bench.analysis.rows import each
from bench.analysis.verdicts import Verdicts, compare_groups
from bench.reporting.html_table import Cell, Table, name_cell, seeds_cell
from bench.stats.intervals import mean_interval
from bench.stats.pairwise import Groups

SCORE = "left_to_right_bits_per_byte"


def tabulate(part: Comparison, tables: VariantTables) -> list[Table]:
    """A table for each set of windows that an encoder was scored on: its rows ranked, and each held against the best."""
    found = []
    for number, (rows, windows) in enumerate(_groups(part, tables)):
        arms = _arms(rows, windows, tables)
        found.append(
            _table(
                f"{part.name}-windows-{number}",
                rows,
                windows,
                compare_groups(rows, arms),
                arms,
            )
        )
    return found


def _groups(part: Comparison, tables: VariantTables) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows that were asked the same windows of the same tokens, best first, with the nats of each window."""
    rows = part.rows[part.rows[SCORE].notna()]
    windows = tables.windows[tables.windows.index.get_level_values("row").isin(rows.index)]
    asked = windows.reset_index().groupby("row")["document"].agg(tuple).reindex(rows.index)
    asked = asked.where(asked.notna(), "")
    for _, group in rows.groupby([rows["data_digest"], rows["part"], asked], sort=False):
        if (
            group["pseudo_perplexity"].notna().any()
        ):  # without an encoder the whole text says more than a sample of it
            kept = windows[windows.index.get_level_values("row").isin(group.index)]
            yield group.sort_values(SCORE), kept


def _arms(rows: pd.DataFrame, windows: pd.DataFrame, tables: VariantTables) -> Groups:
    runs = tables.runs[tables.runs["status"] == "done"]
    seeds = [
        runs.loc[runs["row"] == row, SCORE].dropna().to_numpy(dtype=float) for row in rows.index
    ]
    if windows.empty:
        return Groups(seeds, np.empty((len(rows), 0)), np.empty(0))
    nats = windows["nats"].unstack("document").reindex(rows.index).to_numpy(dtype=float)
    return Groups(
        seeds, nats, windows["bytes"].groupby(level="document").first().to_numpy(dtype=float)
    )


def _table(
    name: str,
    rows: pd.DataFrame,
    windows: pd.DataFrame,
    found: Verdicts,
    arms: Groups,
) -> Table:
    spread = document_variance_table(windows)
    first = int(str(rows[~rows["control"]].index[0]))
    cells = []
    for row, seeds in zip(each(rows), arms.seeds, strict=True):
        variance, count = spread.loc[row.Index] if row.Index in spread.index else (float("nan"), 0)
        span = mean_interval(seeds, float(variance), int(count))
        kind = "encoder" if row.pseudo_perplexity == row.pseudo_perplexity else "causal"
        cells.append(
            [
                name_cell(row),
                Cell(kind, kind),
                Cell(
                    format_fixed(span.value),
                    span.value,
                    f"± {format_fixed(span.half)}",
                    "best" if row.Index == first else "",
                ),
                _against(found, first, int(row.Index)),
                _bound(row),
                seeds_cell(row),
            ]
        )
    columns = [
        ("architecture", "a row is a variant; seeds are averaged"),
        (
            "reads",
            "an encoder sees masks in place of what comes later, a causal model sees nothing of it",
        ),
        (
            "bits per byte, left to right",
            "a true likelihood; below it half of the 95 % interval, over seeds and windows",
        ),
        ("against the best", "on the same windows, paired"),
        (
            "over all orders",
            "an upper bound of an encoder’s likelihood when the order is drawn; below it the standard error",
        ),
        ("seeds", "finished seeds"),
    ]
    count, held = (
        windows.index.get_level_values("document").nunique(),
        rows["part"].iloc[0] or "held-out",
    )
    caption = (
        f"{count} sampled windows of the {held} part, the same for all: each token from those before it in its window, the first "
        "one given, separators between documents counted. Lower is better."
    )
    return Table(
        name,
        caption,
        columns,
        cells,
        [_in_windows(note) for note in found.notes],
        "The same windows, left to right",
    )


def _against(found: Verdicts, best: int, row: int) -> Cell:
    """The verdict on a row beside the best one."""
    if row == best:
        return Cell("the best", 0.0, mark="words")
    table = found.pairs
    mine = table[
        ((table["row"] == best) & (table["other_row"] == row))
        | ((table["row"] == row) & (table["other_row"] == best))
    ]
    if mine.empty:  # a row of the A/A control is held against its own architecture alone
        return Cell(NO_VALUE, None, mark="words")
    pair = next(each(mine))
    return Cell(_in_windows(pair.sentence), float(pair.difference), mark="words")


def _bound(row: Any) -> Cell:
    """The bound of an encoder, with the sign that says what it is; a causal model has one order only."""
    value = row.any_order_bits_per_byte
    return (
        Cell(f"≤ {format_fixed(value)}", value, f"± {format_fixed(row.any_order_standard_error)}")
        if value == value
        else Cell(NO_VALUE)
    )


def _in_windows(said: str) -> str:
    return (
        said.replace("documents", "windows")
        .replace("held-out text", "windows")
        .replace(", of unequal length,", "")
    )
