"""The sentences at the top: what was compared, and only what the numbers carry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.analysis import budgets, headline
from bench.analysis.baselines import Baselines
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import (
    format_bytes,
    format_fixed,
    format_large,
    format_number,
    join_words,
    plural,
)
from bench.analysis.rows import each
from bench.analysis.sessions import MeasuredSession
from bench.analysis.speed_groups import SpeedGroup
from bench.analysis.verdicts import DOCUMENTS_ONLY_NOTE, Verdicts, difference_text, power_text
from bench.reporting.sections import regrets
from bench.reporting.sections.trust import no_claim_sentences
from bench.stats.pairwise import NOT_DISTINGUISHABLE

NAMED = 4  # so many rows are named in a sentence; the rest are counted
METRICS = {"train_tokens_per_second": "training", "decode_tokens_per_second": "decoding"}


def summary_sentences(comparison: Comparison, sittings: Sequence[MeasuredSession]) -> list[str]:
    """What was compared; the best, and how sure; what can not be told apart; for each machine the fastest and the smallest."""
    said = [
        _compared(comparison),
        *regrets.regret_sentences(comparison),
        *quality_sentences(comparison),
    ]
    said += [
        _floored(table, lines)
        for table, lines in zip(comparison.likelihoods, comparison.baselines, strict=True)
    ]
    real = comparison.rows[~comparison.rows["control"]]
    for sitting in sittings:
        measured = real[real["subject"].isin(sitting.medians.index)]
        where = (
            f"On machine {sitting.machine}: " if len({one.machine for one in sittings}) > 1 else ""
        )
        said.append(
            _cost(dict(zip(measured["subject"], measured["label"], strict=True)), sitting, where)
        )
        said += [
            where + line
            for table, found in _ranked(comparison)
            if (line := _dominated(table, found, sitting))
        ]
    return [line for line in said if line]


def quality_sentences(comparison: Comparison) -> list[str]:
    """The best of each table, how sure that is, and what can not be told apart."""
    said = [
        line
        for table, found in _ranked(comparison)
        for line in (_best(table, found), _open(table, found))
    ]
    alone = [table for table in comparison.likelihoods if (~table["control"]).sum() == 1]
    said += [_alone(table) for table in alone]
    said += [_encoders(table) for table in comparison.pseudo] if not comparison.likelihoods else []
    return [line for line in said if line]


def _ranked(comparison: Comparison) -> list[tuple[pd.DataFrame, Verdicts]]:
    return [
        pair
        for pair in zip(comparison.likelihoods, comparison.verdicts, strict=True)
        if len(pair[1].pairs)
    ]


def _alone(table: pd.DataFrame) -> str:
    """Of a table of one row there is a score, and no verdict."""
    row = next(each(table[~table["control"]]))
    span = f" (95 % interval {format_fixed(row.bits_per_byte_low)} to {format_fixed(row.bits_per_byte_high)})"
    known = span if row.bits_per_byte_low == row.bits_per_byte_low else ""
    where = f"the {row.part} part" if row.part else "held-out text"
    return f"{row.label}: {format_fixed(row.bits_per_byte)} bits per byte{known} on {where}, and nothing beside it to compare it with."


def _encoders(table: pd.DataFrame) -> str:
    """The lowest of the encoders: a number that is no likelihood, and so no verdict."""
    row = next(each(table[~table["control"]].sort_values("pseudo_perplexity")), None)
    if row is None:
        return ""
    error = format_number(row.pseudo_perplexity_standard_error, 2)
    opening = "Of the encoders" if len(table) > 1 else "The encoder"
    lowest = f"{format_number(row.pseudo_perplexity, 4)} ± {error}, {row.label}"
    return f"{opening}, apart since it is no likelihood: pseudo-perplexity {lowest}."


def measurement_sentences(groups: Sequence[SpeedGroup]) -> list[str]:
    """What is said where nothing was trained: a sentence about each group of a sitting."""
    said = []
    for group in groups:
        names = join_words(sorted(group.label(subject) for subject in group.subjects))
        where = f"Measured on machine {group.session.machine}, nothing was trained: {names}."
        said.append(f"{where} {_cost(dict(group.names['label']), group.session, '')}".strip())
    return said


def _cost(labels: Mapping[str, str], sitting: MeasuredSession, where: str) -> str:
    """The fastest and the smallest of one sitting; nothing where there is but one, or where a ruler was off."""
    if len(labels) < 2:
        return ""
    said = [*_speeds(labels, sitting), "" if sitting.failed_checks else _memory(labels, sitting)]
    return where + " ".join(line for line in said if line)


def _compared(comparison: Comparison) -> str:
    rows = comparison.rows[~comparison.rows["control"]]
    scored = rows["bits_per_byte"].notna() | rows["regret"].notna()
    causal, encoders = int(scored.sum()), int(rows["pseudo_perplexity"].notna().sum())
    kinds = [
        plural(amount, kind)
        for amount, kind in ((causal, "causal model"), (encoders, "encoder"))
        if amount
    ]
    seeds = sorted(set(rows["seeds"]))
    length, tokens = (
        str(rows["length"].iloc[0]),
        rows["tokens_seen"].max(),
    )  # one length: others are another comparison
    each_saw = (
        f"{format_large(tokens)} training tokens"
        if length == budgets.TOKENS
        else f"{length} of training"
    )
    times = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return (
        f"{join_words(kinds) or 'Models'} trained on {join_words(sorted(set(rows['data'])))}: "
        f"at most {rows['matched'].iloc[0]}, a context of {rows['context'].iloc[0]} tokens,"
        f" {each_saw} each, {times}."
    )


def _best(table: pd.DataFrame, found: Verdicts) -> str:
    """The lowest mean, and what may be said of it against each other row; nothing where there is no other."""
    first = headline.leader(table, found)
    if first is None:
        return ""
    where = f"the {first.row['part']} part" if first.row["part"] else "held-out text"
    scored = f"{format_fixed(first.row['bits_per_byte'])} bits per byte on {where}"
    clauses = [_beaten(first.better)] if len(first.better) else []
    clauses += [
        f"one seed decides against {_named(first.one_seed_decides, lambda pair: f'P = {pair.wins:.1f}')}"
    ] * bool(len(first.one_seed_decides))
    clauses += [f"not distinguishable from {_named(first.ties, power_text)}"] * bool(
        len(first.ties)
    )
    opening = "Best quality" if first.is_best else "Lowest mean"
    said = f"{opening}: {first.row['label']}, {scored}: {'; '.join(clauses) or 'one seed each, and no nats of the same documents: no verdict'}."
    return said + (f" {DOCUMENTS_ONLY_NOTE}" if first.documents_only else "")


def _beaten(pairs: pd.DataFrame) -> str:
    """By how much the nearest one is beaten."""
    nearest = next(each(pairs))
    others = len(pairs) - 1
    return f"better than {nearest.other_label} by {difference_text(nearest)}" + (
        f", and than {others} further by more" if others else ""
    )


def _named(pairs: pd.DataFrame, why: Callable[[Any], str], both: bool = False) -> str:
    """Each pair with its figures; of many the nearest alone, and how many more there are."""
    shown = pairs if len(pairs) <= NAMED else pairs.head(1)
    names = [
        f"{pair.label} and {pair.other_label}" if both else pair.other_label for pair in each(shown)
    ]
    named = [f"{name} ({why(pair)})" for name, pair in zip(names, each(shown), strict=True)]
    left = len(pairs) - len(named)
    return join_words([*named, *([f"{left:,} further{' pairs' if both else ''}"] if left else [])])


def _open(table: pd.DataFrame, found: Verdicts) -> str:
    """Which other pairs can not be told apart, what would settle them, and whether the A/A control came out as it should."""
    others = headline.other_ties(table, found)
    said = (
        [f"Not distinguishable either: {_named(others, power_text, both=True)}."]
        if len(others)
        else []
    )
    if headline.all_distinguishable(found):
        said.append(f"All {len(found.family):,} pairs can be told apart.")
    for pair in each(found.control):
        names = f"The A/A control, {pair.label} beside {pair.other_label},"
        if pair.kind == NOT_DISTINGUISHABLE:
            said.append(f"{names} is not distinguishable, as it has to be ({power_text(pair)}).")
        else:
            said.append(
                f"{names} differs by {difference_text(pair)}: of one time in twenty this is chance, else the intervals are too narrow."
            )
    return " ".join(said)


def _floored(table: pd.DataFrame, floors: Baselines) -> str:
    """Who is better than the best n-gram with the same context, and who is not."""
    line, split = floors.best, headline.split_by_baseline(table, floors)
    if line is None or split is None:
        return ""
    better, others = split
    opening = f"The best n-gram with the same context (Kneser–Ney, {line.name}) reaches {format_fixed(line.bits_per_byte)}"
    if not others:
        return f"{opening}: every architecture is better."
    if not better:
        return f"{opening}: no architecture is clearly better."
    few, side = min((better, "only"), (others, "all but"), key=lambda pair: len(pair[0]))
    verb = "is" if len(few) == 1 and side == "only" else "are"
    return f"{opening}: {side} {join_words(few[:NAMED] + _further(few))} {verb} clearly better."


def _further(names: Sequence[str]) -> list[str]:
    return [f"{len(names) - NAMED:,} further"] if len(names) > NAMED else []


def _dominated(table: pd.DataFrame, found: Verdicts, sitting: MeasuredSession) -> str:
    """Who is beaten in quality, in the speed of training and in memory by one and the same row."""
    beaten = headline.dominated(table, found, sitting)
    said = [
        f"{join_words(names[:NAMED] + _further(names))} by {label}"
        for label, names in beaten.items()
    ]
    return (
        f"Dominated, beaten in bits per byte, speed of training and peak memory alike: {'; '.join(said)}."
        if said
        else ""
    )


def _speeds(labels: Mapping[str, str], sitting: MeasuredSession) -> list[str]:
    """A sentence for each clocked rate; where no claim may be made, one that says so and why."""
    firsts = {metric: headline.fastest(sitting, labels, metric) for metric in METRICS}
    measured = {metric: one for metric, one in firsts.items() if one is not None}
    said = [
        _fastest(one, METRICS[metric])
        for metric, one in measured.items()
        if sitting.allows_claim(metric)
    ]
    return said + no_claim_sentences(sitting, {metric: METRICS[metric] for metric in measured})


def _fastest(first: headline.Fastest, verb: str) -> str:
    if first.ties or first.ratio is None:
        return f"Fastest in {verb} is not distinguishable here: {join_words([first.label, *first.ties])}."
    ratio = first.ratio
    span = f"{format_fixed(ratio.value, 2)} times the rate of the next, {first.next_label} (95 % interval {format_fixed(ratio.low)} to {format_fixed(ratio.high)})"
    return f"Fastest in {verb}: {first.label}, {span}."


def _memory(labels: Mapping[str, str], sitting: MeasuredSession) -> str:
    smallest = headline.smallest_memory(sitting, labels)
    if smallest is None:
        return ""
    least, low, times = smallest
    most = (
        f"; the largest takes {format_number(times, 2)} times as much"
        if times > 1
        else ", all the same"
    )
    return f"Smallest peak of memory in training: {join_words(least)}, {format_bytes(low)}{most}."
