"""The sentences at the top: what was compared, and only what the numbers support."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets, headline
from bench.analysis.answer import Answer, cost_sentences
from bench.analysis.badges import BASELINE_BETTER, MAX_NAMED, name_some
from bench.analysis.baselines import Baselines, split_by_baseline
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import format_fixed, format_large, format_number, join_words, plural
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.verdicts import (
    DOCUMENTS_ONLY_NOTE,
    Verdicts,
    difference_text,
    power_text,
    wins_text,
)
from bench.reporting.sections.regrets import regret_sentences
from bench.stats.pairwise import NOT_DISTINGUISHABLE

UNFAIR = (
    "The order of training blocks differs between architectures of one seed: this comparison is "
    "not fair."
)
EVERY_ROW = {
    "better": "every architecture is clearly better",
    "worse": "every architecture is clearly worse",
    "": "no architecture is clearly better or worse",
}


def summary_sentences(part: Comparison, answers: Sequence[Answer]) -> list[str]:
    """Return what was compared, the best and how sure that is, and for each session the fastest.

    `answers`: of the whole analysis.
    """
    own = [one for one in answers if one.comparison == part.name]
    sentences = [_compared(part), *regret_sentences(part), *quality_sentences(part)]
    sentences += map(_against_baseline, part.likelihoods, part.baselines)
    badges = [badge for one in own for badge in one.badges]  # baselines have a sentence above
    sentences += dict.fromkeys(one.text for one in badges if one.code != BASELINE_BETTER)
    several = len({session.machine for session in part.sessions}) > 1
    for session in part.sessions:
        prefix = f"On machine {session.machine}: " * several
        costs = cost_sentences([one for one in own if one.session == session.name])
        costs += _dominated_sentences(part, session)
        sentences += [prefix + line for line in costs]
    return list(filter(None, sentences))


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


def _compared(part: Comparison) -> str:
    rows = part.rows[~part.rows["control"]]
    first, seeds = rows.iloc[0], sorted(set(rows["seeds"]))
    length = str(first["length"])  # one for all rows: others are another comparison
    tokens = f"{format_large(rows['tokens_seen'].max())} training tokens"
    amount = tokens if length == budgets.TOKENS else f"{length} of training"
    times = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    sources = join_words(sorted(set(rows["data"])))
    return (
        f"{_models_text(rows)} trained on {sources}: at most {first['matched']}, "
        f"a context of {first['context']} tokens, {amount} each, {times}."
    )


def _models_text(rows: pd.DataFrame) -> str:
    causal = int((rows["bits_per_byte"].notna() | rows["regret"].notna()).sum())
    kinds = {"causal model": causal, "encoder": int(rows["pseudo_perplexity"].notna().sum())}
    return join_words([plural(count, kind) for kind, count in kinds.items() if count]) or "Models"


def quality_sentences(part: Comparison) -> list[str]:
    """Return the best of each table, how sure that is, and what is not distinguishable."""
    sentences = []
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        if len(verdicts.pairs):
            sentences += [_best(table, verdicts), *_other_pairs(table, verdicts)]
        if (~table["control"]).sum() == 1:
            sentences.append(_single(table[~table["control"]].iloc[0]))
    if not part.likelihoods:
        sentences += [_best_encoder(table) for table in part.pseudo]
    return list(filter(None, sentences))


def _single(row: Any) -> str:
    low, high = row["bits_per_byte_low"], row["bits_per_byte_high"]
    span = f" (95 % interval {format_fixed(low)} to {format_fixed(high)})" if low == low else ""
    return f"{row['label']}: {_score_text(row, span)}, with nothing to compare it with."


def _score_text(row: Any, span: str = "") -> str:
    part = f"the {row['part']} part" if row["part"] else "held-out text"
    return f"{format_fixed(row['bits_per_byte'])} bits per byte{span} on {part}"


def _best_encoder(table: pd.DataFrame) -> str:
    rows = table[~table["control"]].sort_values("pseudo_perplexity")
    if rows.empty:
        return ""
    row = rows.iloc[0]
    value = format_number(row["pseudo_perplexity"], 4)
    error = format_number(row["pseudo_perplexity_standard_error"], 2)
    opening = "Of the encoders, the lowest" if len(table) > 1 else "The encoder's"
    return f"{opening} pseudo-perplexity (not a likelihood): {value} ± {error}, {row['label']}."


def _best(table: pd.DataFrame, verdicts: Verdicts) -> str:
    """Return the lowest mean, and the verdicts on it and each other row."""
    first = headline.leader(table, verdicts)
    if first is None:
        return ""
    clauses = [
        _better_clause(first.better),
        _worse_clause(first.worse),
        _name_pairs("one seed decides against", first.one_seed_decides, wins_text),
        _name_pairs("not distinguishable from", first.ties, power_text),
    ]
    verdict = "; ".join(filter(None, clauses))
    verdict = verdict or "one seed each, and no nats of the same documents: no verdict"
    lowest = "Lowest mean" if first.is_lowest else "Lowest mean but for a control"
    opening = "Best quality" if first.is_best else lowest
    note = f" {DOCUMENTS_ONLY_NOTE}" if first.documents_only else ""
    return f"{opening}: {first.row['label']}, {_score_text(first.row)}: {verdict}.{note}"


def _better_clause(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return ""
    nearest: Any = next(pairs.itertuples())
    others = f", and than {len(pairs) - 1} more by larger margins" if len(pairs) > 1 else ""
    return f"better than {nearest.other_label} by {difference_text(nearest)}{others}"


def _worse_clause(pairs: Any) -> str:
    texts = [f"{pair.label} by {difference_text(pair)}" for pair in pairs.itertuples()]
    return f"worse than {join_words(texts)}" if texts else ""


def _name_pairs(
    opening: str, pairs: pd.DataFrame, describe: Callable[[Any], str], both: bool = False
) -> str:
    """Return the pairs with their numbers; of many only the nearest, and how many more."""
    if pairs.empty:
        return ""
    shown: Any = pairs if len(pairs) <= MAX_NAMED else pairs.head(1)
    texts = [
        f"{f'{pair.label} and ' * both}{pair.other_label} ({describe(pair)})"
        for pair in shown.itertuples()
    ]
    left = len(pairs) - len(shown)
    texts += [f"{left:,} more{' pairs' * both}"] if left else []
    return f"{opening} {join_words(texts)}"


def _other_pairs(table: pd.DataFrame, verdicts: Verdicts) -> Iterator[str]:
    """Yield which other pairs are not distinguishable, and the outcome of the A/A control."""
    ties = headline.other_ties(table, verdicts)
    if len(ties):
        yield _name_pairs("Also not distinguishable:", ties, power_text, both=True) + "."
    if headline.all_distinguishable(verdicts):
        yield f"All {len(verdicts.family):,} pairs are distinguishable."
    pair: Any
    for pair in verdicts.control.itertuples():
        names = f"The A/A control, {pair.label} and {pair.other_label},"
        if pair.kind == NOT_DISTINGUISHABLE:
            yield f"{names} is not distinguishable, as it should be ({power_text(pair)})."
        else:
            yield (
                f"{names} differs by {difference_text(pair)}: one time in twenty this is chance, "
                "otherwise the intervals are too narrow."
            )


def _against_baseline(table: pd.DataFrame, baselines: Baselines) -> str:
    line, split = baselines.best, split_by_baseline(table, baselines)
    if line is None or split is None:
        return ""
    score = format_fixed(line.bits_per_byte)
    opening = f"The best n-gram with the same context (Kneser–Ney, {line.name}) reaches {score}"
    if line.as_read and (other := baselines.best_of_all_text):
        opening += f" ({format_fixed(other.bits_per_byte)} counted on the whole training part)"
    groups = {"better": split.better, "worse": split.worse, "": split.unclear}
    filled = {side: names for side, names in groups.items() if names}
    if not filled:  # controls alone
        return f"{opening}."
    if len(filled) == 1:
        return f"{opening}: {EVERY_ROW[next(iter(filled))]}."
    clauses = [
        f"{name_some(names)} {'is' if len(names) == 1 else 'are'} "
        + (f"clearly {side}" if side else "neither clearly better nor worse")
        for side, names in filled.items()
    ]
    return f"{opening}: {'; '.join(clauses)}."
