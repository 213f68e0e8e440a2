"""The logged losses of the page: thinned, with the grid of tokens that many curves share."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.reporting.page_data import encode_table, plain
from bench.reporting.views import View

MAX_POINTS = 100  # of a curve; a longer one is thinned evenly, curves.csv has every point
MAX_CURVE_POINTS = 24_000  # of all curves together
MIN_POINTS = 12


def curve_data(views: Sequence[View], curves: pd.DataFrame) -> dict[str, Any]:
    """Return the logged losses: `grids` of tokens, and `lines` that name one each.

    A line: key of the row, seed, train or held-out, number of its grid, losses in nats per token.
    """
    runs = _runs_of(views)
    limit = max(MIN_POINTS, min(MAX_POINTS, MAX_CURVE_POINTS // max(1, 2 * len(runs))))
    grids: dict[tuple[int, ...], int] = {}
    lines = [
        (*runs[str(run)], kind, grids.setdefault(grid, len(grids)), nats)
        for run, table in curves[curves["run"].isin(runs)].groupby("run", sort=False)
        for kind, column in (("train", "nats"), ("held-out", "validation_nats"))
        for grid, nats in _points(table, column, limit)
    ]
    columns = "key seed kind grid nats".split()
    return {
        "grids": [list(grid) for grid in grids],
        "lines": encode_table(pd.DataFrame(lines, columns=columns)),
    }


def _runs_of(views: Sequence[View]) -> dict[str, tuple[str, int]]:
    """Return by run the key of its row, and its seed."""
    tables = [view.comparison.runs for view in views if view.comparison is not None]
    runs = pd.concat(tables or [pd.DataFrame(columns=["run", "row", "seed"])])
    keys = [f"r{row}" for row in runs["row"]]
    seeds = runs["seed"].astype(int)
    return dict(zip(runs["run"].astype(str), zip(keys, seeds, strict=True), strict=True))


def _points(
    table: pd.DataFrame, column: str, limit: int
) -> Iterator[tuple[tuple[int, ...], list[Any]]]:
    """Yield the tokens and losses of a curve, if it has any; infinities become null."""
    kept = _thin(table[["tokens", column]].dropna(), limit).astype(float)
    if len(kept):
        nats = [plain(float(f"{value:.4g}")) for value in kept[column]]
        yield tuple(int(tokens) for tokens in kept["tokens"]), nats


def _thin(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return every n-th point so that at most about `limit` are left, always with the last."""
    step = math.ceil(len(table) / limit)
    return table.iloc[(len(table) - 1) % step :: step] if step > 1 else table
