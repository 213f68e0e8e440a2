"""How far back predictions look: saliency by distance, and the passages that show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.records.tables import Records
from bench.stats import Numbers

NEAR = 16  # tokens whose share is given
CURVE_COLUMNS = "row tokens share error".split()
HEAD_COLUMNS = "row layer head last near first".split()


@dataclass(frozen=True)
class Lookback:
    """What the predictions of some rows look at, by row of the summary."""

    curves: pd.DataFrame  # CURVE_COLUMNS: share of saliency within the last `tokens`, its error
    heads: pd.DataFrame  # HEAD_COLUMNS: attention on the last token, the last NEAR, the first
    passages: Mapping[int, Sequence[Mapping[str, Any]]]  # of the first seed of a row
    predictions: Mapping[int, int]  # per seed
    unexplained: Mapping[int, str]  # why a row has no numbers

    def within(self, row: int, tokens: int) -> float:
        """Return the share of saliency within the last `tokens`; NaN beyond the context."""
        own = self.curves[self.curves["row"] == row]
        if own.empty or own["tokens"].max() < tokens:
            return float("nan")
        return float(np.interp(tokens, own["tokens"], own["share"]))

    def half(self, row: int) -> float:
        """Return within how many tokens half of the saliency lies, interpolated on a log axis."""
        own = self.curves[self.curves["row"] == row]
        return float(np.exp(np.interp(0.5, own["share"], np.log(own["tokens"]))))


def build_lookback(
    rows: pd.DataFrame, records: Records, variants: VariantTables
) -> Lookback | None:
    """Return what predictions look at of those rows that recorded it; None where none did."""
    own = records.saliency.merge(variants.finished(rows.index)[["run", "row"]], on="run")
    if own.empty:
        return None
    own = own.sort_values(["row", "seed"])  # the first seed of each row comes first
    has_numbers = own["shares"].map(len) > 0
    explained = own[has_numbers]
    passages: dict[int, Any] = _first_by_row(explained, "passages")
    curves = [_curve(row, explained[explained["row"] == row]) for row in passages]
    heads = [one for row, shown in passages.items() for one in _heads(row, shown)]
    return Lookback(
        pd.concat(curves) if curves else pd.DataFrame(columns=CURVE_COLUMNS),
        pd.DataFrame(heads, columns=HEAD_COLUMNS),
        passages,
        {row: len(shares) for row, shares in _first_by_row(explained, "shares").items()},
        _first_by_row(own[~has_numbers], "reason"),
    )


def _first_by_row(runs: pd.DataFrame, column: str) -> dict[int, Any]:
    firsts = runs.drop_duplicates("row")
    return dict(zip(firsts["row"].astype(int), firsts[column], strict=True))


def _curve(row: int, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the share of saliency within each distance: mean over predictions and seeds.

    Seeds explain the same predictions, so that the error is over predictions of their mean.
    """
    fewest = min(map(len, runs["shares"]))
    shares: Numbers = np.mean([np.array(one[:fewest], float) for one in runs["shares"]], axis=0)
    within = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
    error = within.std(axis=0, ddof=1) / np.sqrt(fewest) if fewest > 1 else np.nan
    tokens = [last + 1 for _, last in runs["distances"].iloc[0]]
    return pd.DataFrame(
        {"row": row, "tokens": tokens, "share": within.mean(axis=0), "error": error}
    )


def _heads(row: int, passages: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return where each head looks, as a mean over the passages: rows of HEAD_COLUMNS."""
    places: dict[tuple[int, int], list[Numbers]] = {}
    for passage in passages:
        for head in passage["attention"]:
            weights = np.array(head["weights"], float)
            ends = np.array([weights[-1], weights[-NEAR:].sum(), weights[0]])
            places.setdefault((head["layer"], head["head"]), []).append(ends)
    return [[row, *head, *map(float, np.mean(ends, axis=0))] for head, ends in places.items()]
