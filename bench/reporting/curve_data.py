"""The logged losses of the page: thinned, with the grid of tokens that many curves share."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.reporting.page_data import encode_table
from bench.reporting.views import View
from bench.stats.intervals import Numbers

MAX_POINTS = 100  # of a curve; a longer one is thinned evenly, curves.csv has every point
MAX_CURVE_POINTS = 24_000  # of all curves together
MIN_POINTS = 12
Grid = tuple[int, ...]  # the tokens of the logged steps
KINDS = {"train": "nats", "held-out": "validation_nats"}  # a curve's kind, and its column


def curve_data(views: Sequence[View], curves: pd.DataFrame) -> dict[str, Any]:
    """Return the logged losses: `grids` of tokens, and `lines` that name one each.

    A line: key of the row, seed, train or held-out, number of its grid, losses in nats per token.
    """
    runs = _runs_of(views)
    grids: dict[Grid, int] = {}
    lines = [
        (*runs[run], kind, grids.setdefault(grid, len(grids)), nats)
        for run, kind, grid, nats in _lines(curves[curves["run"].isin(runs)], len(runs))
    ]
    table = pd.DataFrame(lines, columns="key seed kind grid nats".split())
    return {"grids": [*map(list, grids)], "lines": encode_table(table)}


def _lines(curves: pd.DataFrame, runs: int) -> Iterator[tuple[str, str, Grid, list[float]]]:
    """Yield the run, kind, tokens and losses of each curve, thinned to what a page can hold."""
    limit = min(MAX_POINTS, max(MIN_POINTS, MAX_CURVE_POINTS // (2 * runs + 1)))
    tokens, *losses = curves[["tokens", *KINDS.values()]].to_numpy(dtype=float).T
    for run, places in curves.groupby("run", sort=False).indices.items():
        for kind, values in zip(KINDS, losses, strict=True):
            for grid, nats in _points(tokens[places], values[places], limit):
                yield str(run), kind, grid, nats


def _runs_of(views: Sequence[View]) -> dict[str, tuple[str, int]]:
    """Return by run the key of its row, and its seed."""
    tables = [view.comparison.runs for view in views if view.comparison is not None]
    runs = pd.concat(tables or [pd.DataFrame(columns=["run", "row", "seed"])])
    keys = [f"r{row}" for row in runs["row"]]
    seeds = runs["seed"].astype(int)
    return dict(zip(runs["run"].astype(str), zip(keys, seeds, strict=True), strict=True))


def _points(tokens: Numbers, nats: Numbers, limit: int) -> Iterator[tuple[Grid, list[float]]]:
    """Yield the finite points of a curve, if it has any: about `limit`, always with the last."""
    places = np.flatnonzero(np.isfinite(nats))
    step = max(1, math.ceil(len(places) / limit))
    kept = places[(len(places) - 1) % step :: step] if len(places) else places
    if len(kept):
        rounded = [float(f"{value:.4g}") for value in nats[kept].tolist()]
        yield tuple(tokens[kept].astype(int).tolist()), rounded
