"""The sentences at the top: what was compared, and only what the numbers support."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets, headline
from bench.analysis.answer import Answer, cost_sentences
from bench.analysis.badges import BASELINE_BETTER, name_some
from bench.analysis.baselines import Baselines, split_by_baseline
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_large, join_words, plural
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.verdicts import DOCUMENTS_ONLY_NOTE, Verdicts
from bench.reporting.sections.regrets import regret_sentences
from bench.reporting.sentences import say

UNFAIR = (
    "The order of training blocks differs between architectures of one seed: this comparison is "
    "not fair."
)


def summary_sentences(part: Comparison, answers: Sequence[Answer]) -> list[str]:
    """Return what was compared, the best and how sure that is, and for each session the fastest.

    `answers`: of the whole analysis.
    """
    own = [one for one in answers if one.comparison == part.name]
    sentences = [*_compared(part), *regret_sentences(part), *quality_sentences(part)]
    for table, baselines in zip(part.likelihoods, part.baselines, strict=True):
        sentences += _against_baseline(table, baselines)
    badges = [badge for one in own for badge in one.badges]  # baselines have a sentence above
    sentences += dict.fromkeys(one.text for one in badges if one.code != BASELINE_BETTER)
    several = len({session.machine for session in part.sessions}) > 1
    for session in part.sessions:
        prefix = f"On machine {session.machine}: " * several
        costs = cost_sentences([one for one in own if one.session == session.name])
        costs += _dominated_sentences(part, session)
        sentences += [prefix + line for line in costs]
    return sentences


def _dominated_sentences(part: Comparison, session: MeasuredSession) -> Iterator[str]:
    """Yield the rows that one and the same row beats in quality, training speed and memory."""
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        beaten = headline.dominated(table, verdicts, session) if len(verdicts.pairs) else {}
        texts = [f"{name_some(names)} by {label}" for label, names in beaten.items()]
        if texts:
            costs = "bits per byte, training speed and training memory alike"
            yield f"Dominated, worse in {costs}: {'; '.join(texts)}."


def measurement_sentences(groups: Sequence[SpeedGroup], answers: Sequence[Answer]) -> list[str]:
    """Return sentences per group where nothing was trained."""
    sentences = []
    for group in groups:
        names = join_words(sorted(map(group.label, group.subjects)))
        measured = f"Measured on machine {group.session.machine}, nothing was trained: {names}."
        costs = cost_sentences([one for one in answers if one.session == group.session.name])
        sentences.append(" ".join([measured, *costs]))
    return sentences


def _compared(part: Comparison) -> list[str]:
    rows = part.rows[~part.rows["control"]]
    first, seeds = rows.iloc[0], sorted(set(rows["seeds"]))
    length = str(first["length"])  # one for all rows: others are another comparison
    tokens = f"{format_large(rows['tokens_seen'].max())} training tokens"
    amount = tokens if length == budgets.TOKENS else f"{length} of training"
    times = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    causal = int((rows["bits_per_byte"].notna() | rows["regret"].notna()).sum())
    kinds = {"causal model": causal, "encoder": int(rows["pseudo_perplexity"].notna().sum())}
    models = [plural(count, kind) for kind, count in kinds.items() if count]
    return say("compared", models, sorted(set(rows["data"])), first, amount, times)


def quality_sentences(part: Comparison) -> list[str]:
    """Return the best of each table, how sure that is, and what is not distinguishable."""
    sentences = []
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        if len(verdicts.pairs):
            sentences += [*_best(table, verdicts), *_other_pairs(table, verdicts)]
        if (~table["control"]).sum() == 1:
            sentences += say("single", table[~table["control"]].iloc[0])
    for table in () if part.likelihoods else part.pseudo:
        rows = table[~table["control"]].sort_values("pseudo_perplexity")
        sentences += say("encoder", rows.iloc[0], len(table) > 1) if len(rows) else []
    return sentences


def _best(table: pd.DataFrame, verdicts: Verdicts) -> list[str]:
    """Return the lowest mean, and the verdicts on it and each other row."""
    first = headline.leader(table, verdicts)
    if first is None:
        return []
    wins = (_tuples(first.better), _tuples(first.worse))
    pairs = (_tuples(first.one_seed_decides), _tuples(first.ties))
    return say("best", first, wins, *pairs, DOCUMENTS_ONLY_NOTE)


def _tuples(pairs: pd.DataFrame) -> list[Any]:
    return [*pairs.itertuples()]


def _other_pairs(table: pd.DataFrame, verdicts: Verdicts) -> list[str]:
    """Return which other pairs are not distinguishable, and the outcome of the A/A control."""
    ties, all_differ = headline.other_ties(table, verdicts), headline.all_distinguishable(verdicts)
    pairs = (_tuples(ties), all_differ, len(verdicts.family), _tuples(verdicts.control))
    return say("other_pairs", *pairs)


def _against_baseline(table: pd.DataFrame, baselines: Baselines) -> list[str]:
    line, split = baselines.best, split_by_baseline(table, baselines)
    if line is None or split is None:
        return []
    other = baselines.best_of_all_text if line.as_read else None
    sides = {"better": split.better, "worse": split.worse, "": split.unclear}
    return say("baseline", line, other, [pair for pair in sides.items() if pair[1]])
