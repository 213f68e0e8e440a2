"""Compute the numbers of the summary: which row leads, ties with others or is dominated."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.analysis.baselines import Baselines
from bench.analysis.sessions import PEAK_MEMORY, TRAIN_RATE, MeasuredSession, scalar_point
from bench.analysis.verdicts import Verdicts
from bench.stats.intervals import Ratio
from bench.stats.pairwise import BETTER, NOT_DISTINGUISHABLE, ONE_SEED_DECIDES


@dataclass(frozen=True)
class Leader:
    """The row with the lowest mean, and its pairs with the others by kind, nearest first."""

    row: pd.Series
    better: pd.DataFrame
    one_seed_decides: pd.DataFrame
    ties: pd.DataFrame
    is_best: bool  # whether it is better than every other row
    documents_only: bool  # whether seeds were not sampled


def leader(table: pd.DataFrame, verdicts: Verdicts) -> Leader | None:
    """Return the leader of a table of likelihoods; None where no other row is beside it."""
    row = table[~table["control"]].iloc[0]
    pairs = verdicts.of(int(str(row.name))).sort_values("difference")
    if pairs.empty:
        return None
    better, decides, ties = (
        pairs[pairs["kind"] == kind] for kind in (BETTER, ONE_SEED_DECIDES, NOT_DISTINGUISHABLE)
    )
    documents_only = bool((pairs["basis"] == "documents").any())
    return Leader(row, better, decides, ties, len(better) == len(pairs), documents_only)


def other_ties(table: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
    """Return the pairs without the leader that are not distinguishable, the nearest first."""
    first, pairs = table[~table["control"]].index[0], verdicts.family
    ties = pairs[(pairs["row"] != first) & (pairs["kind"] == NOT_DISTINGUISHABLE)]
    return ties.sort_values("difference")


def all_distinguishable(verdicts: Verdicts) -> bool:
    """Tell whether every pair of several has a better row."""
    return len(verdicts.family) > 1 and bool(verdicts.family["kind"].eq(BETTER).all())


def split_by_baseline(
    table: pd.DataFrame, baselines: Baselines
) -> tuple[list[str], list[str]] | None:
    """Return the labels clearly better than the best baseline, and the others."""
    if (best := baselines.best) is None:
        return None
    rows = table[~table["control"]]
    better = rows["bits_per_byte_high"].fillna(rows["bits_per_byte"]) < best.bits_per_byte
    return [*rows.loc[better, "label"].map(str)], [*rows.loc[~better, "label"].map(str)]


def dominated(
    table: pd.DataFrame, verdicts: Verdicts, session: MeasuredSession
) -> dict[str, list[str]]:
    """Return by label the rows it beats in bits per byte, training speed and peak memory alike."""
    rows = table[~table["control"] & table["subject"].isin(session.medians.index)]
    if PEAK_MEMORY not in session.medians or not session.allows_claim(TRAIN_RATE):
        return {}
    ends, pairs = ["row", "other_row"], verdicts.family
    pairs = pairs[pairs["kind"].eq(BETTER) & pairs[ends].isin(rows.index).all(axis=1)]
    first, second = (pairs[end].map(rows["subject"]) for end in ends)
    pairs = _cheaper_pairs(pairs.assign(first=first, second=second), session)
    pairs = pairs.drop_duplicates("other_label")
    groups = pairs.groupby("label", sort=False)["other_label"]
    return {str(label): list(own) for label, own in groups}


def _cheaper_pairs(pairs: pd.DataFrame, session: MeasuredSession) -> pd.DataFrame:
    """Return the pairs whose first subject clearly trains faster and has the smaller peak."""
    peaks = session.medians[PEAK_MEMORY]
    pairs = pairs[pairs["first"].map(peaks) < pairs["second"].map(peaks)]
    measured = pairs[["first", "second"]].drop_duplicates()  # variants share measurements
    if measured.empty:
        return pairs
    quotients = [(scalar_point(TRAIN_RATE), a, b) for a, b in measured.itertuples(index=False)]
    ratios = session.paired_ratios(quotients)
    faster = measured[[ratio is not None and ratio.side == 1 for ratio in ratios]]
    return pairs.merge(faster)


@dataclass(frozen=True)
class Fastest:
    """Who has the highest rate; `ties` cannot be told from it, else `ratio` is to the next."""

    label: str
    ties: list[str]
    ratio: Ratio | None
    next_label: str


def fastest(session: MeasuredSession, labels: Mapping[str, str], metric: str) -> Fastest | None:
    """Compare the subject with the highest median rate with each other in their shared rounds.

    `labels`: by subject. None where fewer than two of them have the rate.
    """
    point = scalar_point(metric)
    subjects = [one for one in labels if one in session.samples.get(point, ())]
    first, *others = sorted(subjects, key=lambda one: -session.value(one, metric)) or [""]
    if not others:
        return None
    ratios = session.paired_ratios([(point, first, other) for other in others])
    clear = {other: one for other, one in zip(others, ratios, strict=True) if one and one.side == 1}
    ties = [labels[other] for other in others if other not in clear]
    ratio, label = min(((one, labels[other]) for other, one in clear.items()), default=(None, ""))
    return Fastest(labels[first], ties, ratio, label)


def smallest_memory(
    session: MeasuredSession, labels: Mapping[str, str]
) -> tuple[list[str], float, float] | None:
    """Return who has the smallest training peak, its bytes, and the largest peak over it."""
    if PEAK_MEMORY not in session.medians:
        return None
    peaks = session.medians[PEAK_MEMORY].reindex(list(labels)).dropna()
    if len(peaks) < 2:
        return None
    low = float(peaks.min())
    return [labels[str(one)] for one in peaks.index[peaks == low]], low, float(peaks.max()) / low
