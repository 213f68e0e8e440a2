"""The sentences at the top: what was compared, and only what the numbers support."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets
from bench.analysis.answer import Answer, cost_sentences
from bench.analysis.badges import BASELINE_BETTER, MAX_NAMED, name_some
from bench.analysis.baselines import Baselines, split_by_baseline
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import (
    format_fixed,
    format_large,
    format_number,
    join_words,
    plural,
)
from bench.analysis.headline import (
    all_distinguishable,
    dominated,
    leader,
    other_ties,
)
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


def summary_sentences(part: Comparison, answers: Sequence[Answer]) -> list[str]:
    """Return what was compared, the best and how sure that is, and for each session the fastest.

    `answers`: of the whole analysis.
    """
    own = [one for one in answers if one.comparison == part.name]
    sentences = [_compared(part), *regret_sentences(part), *quality_sentences(part)]
    lines = zip(part.likelihoods, part.baselines, strict=True)
    sentences += [_against_baseline(table, baselines) for table, baselines in lines]
    sentences += badge_sentences(own)
    machines = {session.machine for session in part.sessions}
    for session in part.sessions:
        prefix = f"On machine {session.machine}: " if len(machines) > 1 else ""
        costs = cost_sentences([one for one in own if one.session == session.name])
        costs += dominated_sentences(part, session)
        sentences += [prefix + line for line in costs]
    return list(filter(None, sentences))


def dominated_sentences(part: Comparison, session: MeasuredSession) -> Iterator[str]:
    """Yield the rows that one and the same row beats in quality, training speed and memory."""
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        beaten = dominated(table, verdicts, session) if len(verdicts.pairs) else {}
        texts = [f"{name_some(names)} by {label}" for label, names in beaten.items()]
        if texts:
            costs = "bits per byte, training speed and training memory alike"
            yield f"Dominated, worse in {costs}: {'; '.join(texts)}."


def badge_sentences(answers: Sequence[Answer]) -> list[str]:
    """Return the caveats on the answers, each once; a sentence of its own compares baselines."""
    badges = [badge for one in answers for badge in one.badges if badge.code != BASELINE_BETTER]
    return list(dict.fromkeys(badge.text for badge in badges))


def measurement_sentences(groups: Sequence[SpeedGroup], answers: Sequence[Answer]) -> list[str]:
    """Return sentences per group where nothing was trained."""
    sentences = []
    for group in groups:
        names = join_words(sorted(map(group.label, group.subjects)))
        measured = f"Measured on machine {group.session.machine}, nothing was trained: {names}."
        costs = cost_sentences([one for one in answers if one.session == group.session.name])
        sentences.append(" ".join([measured, *costs]))
    return sentences


# --- quality -----------------------------------------------------------------


def quality_sentences(part: Comparison) -> list[str]:
    """Return the best of each table, how sure that is, and what is not distinguishable."""
    sentences = []
    for table, verdicts in zip(part.likelihoods, part.verdicts, strict=True):
        if len(verdicts.pairs):
            sentences += [_best(table, verdicts), *_other_pairs(table, verdicts)]
        if (~table["control"]).sum() == 1:
            sentences.append(_single(table))
    if not part.likelihoods:
        sentences += [_best_encoder(table) for table in part.pseudo]
    return list(filter(None, sentences))


def _single(table: pd.DataFrame) -> str:
    """Return the score of a table of one row, which has no verdict."""
    row = table[~table["control"]].iloc[0]
    low, high = row["bits_per_byte_low"], row["bits_per_byte_high"]
    span = f" (95 % interval {format_fixed(low)} to {format_fixed(high)})" if low == low else ""
    score = f"{format_fixed(row['bits_per_byte'])} bits per byte{span} on {_part_text(row)}"
    return f"{row['label']}: {score}, with nothing to compare it with."


def _part_text(row: Any) -> str:
    return f"the {row['part']} part" if row["part"] else "held-out text"


def _best_encoder(table: pd.DataFrame) -> str:
    """Return the lowest pseudo-perplexity, which is not a likelihood and has no verdict."""
    rows = table[~table["control"]].sort_values("pseudo_perplexity")
    if rows.empty:
        return ""
    row = rows.iloc[0]
    value = format_number(row["pseudo_perplexity"], 4)
    error = format_number(row["pseudo_perplexity_standard_error"], 2)
    opening = "Of the encoders, the lowest" if len(table) > 1 else "The encoder's"
    return f"{opening} pseudo-perplexity (not a likelihood): {value} ± {error}, {row['label']}."


def _compared(part: Comparison) -> str:
    rows = part.rows[~part.rows["control"]]
    models = _models_text(rows)
    first, seeds = rows.iloc[0], sorted(set(rows["seeds"]))
    length = str(first["length"])  # one for all rows: others are another comparison
    tokens = f"{format_large(rows['tokens_seen'].max())} training tokens"
    amount = tokens if length == budgets.TOKENS else f"{length} of training"
    times = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return (
        f"{models} trained on {join_words(sorted(set(rows['data'])))}: at most {first['matched']}, "
        f"a context of {first['context']} tokens, {amount} each, {times}."
    )


def _models_text(rows: pd.DataFrame) -> str:
    """Count the causal models and the encoders among the rows, in words."""
    causal = int((rows["bits_per_byte"].notna() | rows["regret"].notna()).sum())
    kinds = ((causal, "causal model"), (int(rows["pseudo_perplexity"].notna().sum()), "encoder"))
    return join_words([plural(count, kind) for count, kind in kinds if count]) or "Models"


def _best(table: pd.DataFrame, verdicts: Verdicts) -> str:
    """Return the lowest mean, and the verdicts on it and each other row."""
    first = leader(table, verdicts)
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
    score = f"{format_fixed(first.row['bits_per_byte'])} bits per byte on {_part_text(first.row)}"
    note = f" {DOCUMENTS_ONLY_NOTE}" if first.documents_only else ""
    return f"{opening}: {first.row['label']}, {score}: {verdict}.{note}"


def _better_clause(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return ""
    nearest: Any = next(pairs.itertuples())
    others = f", and than {len(pairs) - 1} more by larger margins" if len(pairs) > 1 else ""
    return f"better than {nearest.other_label} by {difference_text(nearest)}{others}"


def _worse_clause(pairs: pd.DataFrame) -> str:
    texts = [f"{pair.label} by {difference_text(pair)}" for pair in pairs.itertuples()]
    return f"worse than {join_words(texts)}" if texts else ""


def _name_pairs(
    opening: str, pairs: pd.DataFrame, describe: Callable[[Any], str], both: bool = False
) -> str:
    """Return the pairs with their numbers; of many only the nearest, and how many more."""
    if pairs.empty:
        return ""
    shown = pairs if len(pairs) <= MAX_NAMED else pairs.head(1)
    texts = []
    pair: Any
    for pair in shown.itertuples():
        name = f"{pair.label} and {pair.other_label}" if both else pair.other_label
        texts.append(f"{name} ({describe(pair)})")
    left = len(pairs) - len(shown)
    texts += [f"{left:,} more{' pairs' if both else ''}"] if left else []
    return f"{opening} {join_words(texts)}"


def _other_pairs(table: pd.DataFrame, verdicts: Verdicts) -> Iterator[str]:
    """Yield which other pairs are not distinguishable, and the outcome of the A/A control."""
    ties = other_ties(table, verdicts)
    if len(ties):
        yield _name_pairs("Also not distinguishable:", ties, power_text, both=True) + "."
    if all_distinguishable(verdicts):
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


EVERY_ROW = {
    "better": "every architecture is clearly better",
    "worse": "every architecture is clearly worse",
    "": "no architecture is clearly better or worse",
}


def _against_baseline(table: pd.DataFrame, baselines: Baselines) -> str:
    line, split = baselines.best, split_by_baseline(table, baselines)
    if line is None or split is None:
        return ""
    score = format_fixed(line.bits_per_byte)
    opening = f"The best n-gram with the same context (Kneser–Ney, {line.name}) reaches {score}"
    if line.as_read and (other := baselines.best_of_all_text):
        opening += f" ({format_fixed(other.bits_per_byte)} counted on the whole training part)"
    if not any(split):  # controls alone
        return f"{opening}."
    groups = ((split.better, "better"), (split.worse, "worse"), (split.unclear, ""))
    for names, side in groups:
        if len(names) == sum(map(len, split)):
            return f"{opening}: {EVERY_ROW[side]}."
    clauses = [
        f"{name_some(names)} {'is' if len(names) == 1 else 'are'} "
        + (f"clearly {side}" if side else "neither clearly better nor worse")
        for names, side in groups
        if names
    ]
    return f"{opening}: {'; '.join(clauses)}."
