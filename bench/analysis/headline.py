"""Which row of a table leads, which are not distinguishable from it, which are dominated."""

from dataclasses import dataclass

import pandas as pd

from bench.analysis.families import contenders
from bench.analysis.sessions import (
    PEAK_MEMORY,
    TRAIN_RATE,
    TRAINING_PEAKS,
    MeasuredSession,
    scalar_point,
)
from bench.analysis.verdicts import Verdicts
from bench.stats.pairwise import BETTER, NOT_DISTINGUISHABLE, ONE_SEED_DECIDES


@dataclass(frozen=True)
class Leader:
    """The lowest of the rows that may win, and its pairs with all by kind, nearest first."""

    row: pd.Series
    better: pd.DataFrame
    worse: pd.DataFrame  # pairs that a control wins
    one_seed_decides: pd.DataFrame
    ties: pd.DataFrame
    is_best: bool  # whether it is better than every other row
    is_lowest: bool  # whether no control has a lower mean
    documents_only: bool  # whether seeds were not sampled


def leader(table: pd.DataFrame, verdicts: Verdicts) -> Leader | None:
    """Return the leader of a table of likelihoods; None where no other row is beside it."""
    if (rows := contenders(table)).empty:
        return None
    row = rows.iloc[0]
    pairs = verdicts.of(int(str(row.name))).sort_values("difference")
    if pairs.empty:
        return None
    better, decides, ties = (
        pairs[pairs["kind"] == kind] for kind in (BETTER, ONE_SEED_DECIDES, NOT_DISTINGUISHABLE)
    )
    own, documents_only = better["row"] == row.name, bool((pairs["basis"] == "documents").any())
    is_best, is_lowest = len(better[own]) == len(pairs), bool(table.index[0] == row.name)
    pairs_by_kind = (better[own], better[~own], decides, ties)
    return Leader(row, *pairs_by_kind, is_best, is_lowest, documents_only)


def other_ties(table: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
    """Return the pairs without the leader that are not distinguishable, the nearest first."""
    firsts, pairs = contenders(table).index[:1], verdicts.family
    ties = pairs[~pairs["row"].isin(firsts) & (pairs["kind"] == NOT_DISTINGUISHABLE)]
    return ties.sort_values("difference")


def all_distinguishable(verdicts: Verdicts) -> bool:
    """Tell whether every pair of several has a better row."""
    return len(verdicts.family) > 1 and bool(verdicts.family["kind"].eq(BETTER).all())


def dominated(
    table: pd.DataFrame, verdicts: Verdicts, session: MeasuredSession
) -> dict[str, list[str]]:
    """Return by label the rows it beats in bits per byte, training speed and memory alike."""
    rows = contenders(table)
    rows = rows[rows["subject"].isin(session.medians.index)]
    if PEAK_MEMORY not in session.medians or not session.allows_claim(TRAIN_RATE):
        return {}
    ends, pairs = ["row", "other_row"], verdicts.family
    pairs = pairs[pairs["kind"].eq(BETTER) & pairs[ends].isin(rows.index).all(axis=1)]
    first, second = (pairs[end].map(rows["subject"]) for end in ends)
    pairs = _cheaper_pairs(pairs.assign(first=first, second=second), session)
    groups = pairs.drop_duplicates("other_label").groupby("label", sort=False)["other_label"]
    return {str(label): list(own) for label, own in groups}


def _cheaper_pairs(pairs: pd.DataFrame, session: MeasuredSession) -> pd.DataFrame:
    """Return the pairs whose first subject clearly trains faster and has the smaller peaks."""
    for metric in TRAINING_PEAKS:
        if metric in session.medians:
            peaks = session.medians[metric]
            pairs = pairs[pairs["first"].map(peaks) < pairs["second"].map(peaks)]
    measured = pairs[["first", "second"]].drop_duplicates()  # variants share measurements
    if measured.empty:
        return pairs
    quotients = [(scalar_point(TRAIN_RATE), a, b) for a, b in measured.itertuples(index=False)]
    ratios = session.paired_ratios(quotients)
    faster = measured[[session.clear_side(TRAIN_RATE, ratio) == 1 for ratio in ratios]]
    return pairs.merge(faster)
