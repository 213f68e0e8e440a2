"""The sentences at the top: what was compared, and only what the numbers carry."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bench.report.comparisons import Comparison, against
from bench.report.groups import Group
from bench.report.speeds import Sitting, flat
from bench.report.statistics import Ratio
from bench.report.tables import Tables
from bench.report.trust import refusals
from bench.report.wording import fixed, large, listed, number, plural, size

NAMED = 4  # so many rows are named in a sentence; the rest are counted
METRICS = {"train_tokens_per_second": "training", "decode_tokens_per_second": "decoding"}


def sentences(comparison: Comparison, tables: Tables, sittings: list[Sitting]) -> list[str]:
    """What was compared; the lowest bits per byte; then, for each machine, the fastest and the smallest."""
    said = [_compared(comparison)]
    said += [_quality(table, tables) for table in comparison.likelihoods if len(table) > 1]
    for sitting in sittings:
        measured = comparison.rows[comparison.rows["subject"].isin(sitting.medians.index)]
        where = f"On machine {sitting.machine}: " if len({one.machine for one in sittings}) > 1 else ""
        said.append(_cost(dict(zip(measured["subject"], measured["label"], strict=True)), sitting, where))
    return [line for line in said if line]


def measured_only(groups: Sequence[Group]) -> list[str]:
    """What is said where nothing was trained: a sentence about each group of a sitting."""
    said = []
    for group in groups:
        names = listed(sorted(group.label(subject) for subject in group.subjects))
        where = f"Measured on machine {group.sitting.machine}, nothing was trained: {names}."
        said.append(f"{where} {_cost(dict(group.names['label']), group.sitting, '')}".strip())
    return said


def _cost(labels: Mapping[str, str], sitting: Sitting, where: str) -> str:
    """The fastest and the smallest of one sitting; nothing where there is but one, or where a ruler was off."""
    if len(labels) < 2:
        return ""
    said = [*_speeds(labels, sitting), "" if sitting.broken else _memory(labels, sitting)]
    return where + " ".join(line for line in said if line)


def _compared(comparison: Comparison) -> str:
    rows = comparison.rows
    causal, encoders = int(rows["bits_per_byte"].notna().sum()), int(rows["pseudo_perplexity"].notna().sum())
    kinds = [plural(amount, kind) for amount, kind in ((causal, "causal model"), (encoders, "encoder")) if amount]
    seeds = sorted(set(rows["seeds"]))
    tokens = sorted(set(rows["tokens_seen"].dropna()))
    seen = (
        f" {large(tokens[0])} training tokens each,"
        if len(tokens) == 1
        else " UNEQUAL numbers of training tokens (see runs.csv),"
    )
    times = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return (
        f"{listed(kinds) or 'Models'} trained on {listed(sorted(set(rows['data'])))}: "
        f"at most {rows['budget'].iloc[0]:,} parameters, a context of {rows['context'].iloc[0]} tokens,"
        f"{seen if tokens else ''} {times}."
    )


def _quality(table: pd.DataFrame, tables: Tables) -> str:
    """Three cases: intervals apart; intervals overlap, yet the paired difference is clear; not distinguishable."""
    best = table.iloc[0]
    row = int(str(table.index[0]))
    clear, paired, same = [], [], []
    for other in table.index[1:]:
        label = str(table["label"][other])
        if table["bits_per_byte_low"][other] > best["bits_per_byte_high"]:
            clear.append(label)
            continue
        gap = against(row, int(str(other)), table, tables)
        if gap.low > 0:
            paired.append((gap.value, f"{label} by {fixed(gap.value)} ± {fixed(gap.half)}"))
        else:
            same.append(label)
    scored = f"on the {best['part']} part" if best["part"] else "on held-out text"
    spread = f" (95 % interval {fixed(best['bits_per_byte_low'])} to {fixed(best['bits_per_byte_high'])})"
    lines = [f"Lowest mean bits per byte {scored}: {best['label']}, {fixed(best['bits_per_byte'])}{spread}."]
    if same:
        lines.append(f"Not distinguishable here from {listed(same)}.")
    if paired:
        named = [words for _, words in sorted(paired)[:NAMED]] + _others(len(paired))
        lines.append(f"On the same documents it is lower than {listed(named)}, though the intervals of the rows overlap.")
    if clear:
        lines.append(f"Its interval lies below those of {listed(clear[:NAMED] + _others(len(clear)))}.")
    if table["seeds"].max() == 1:
        lines.append("One seed each: the intervals are over documents only, and say nothing about another seed.")
    return " ".join(lines)


def _others(amount: int) -> list[str]:
    return [f"{amount - NAMED} further ones"] if amount > NAMED else []


def _speeds(labels: Mapping[str, str], sitting: Sitting) -> list[str]:
    """A sentence for each clocked rate; where no claim may be made, one that says so and why."""
    there = {metric: [s for s in labels if s in sitting.samples.get(flat(metric), ())] for metric in METRICS}
    asked = {metric: subjects for metric, subjects in there.items() if len(subjects) > 1}
    said = [_fastest(subjects, labels, sitting, metric) for metric, subjects in asked.items() if sitting.claims(metric)]
    return said + refusals(sitting, {metric: METRICS[metric] for metric in asked})


def _fastest(subjects: Sequence[str], labels: Mapping[str, str], sitting: Sitting, metric: str) -> str:
    """The first by its median rate, held against each other one in the rounds that both took part in."""
    ranked = sorted(subjects, key=lambda subject: -sitting.value(subject, metric))
    first, verb = ranked[0], METRICS[metric]
    beaten: list[tuple[Ratio, str]] = []
    same = [labels[first]]
    for other in ranked[1:]:
        ratio = sitting.ratio(flat(metric), first, other)
        if ratio is not None and ratio.side == 1:
            beaten.append((ratio, labels[other]))
        else:
            same.append(labels[other])
    if len(same) > 1:
        return f"Fastest in {verb} is not distinguishable here: {listed(same)}."
    ratio, after = min(beaten)
    span = (
        f"{fixed(ratio.value, 2)} times the rate of the next, {after} (95 % interval {fixed(ratio.low)} to {fixed(ratio.high)})"
    )
    return f"Fastest in {verb}: {labels[first]}, {span}."


def _memory(labels: Mapping[str, str], sitting: Sitting) -> str:
    name = "peak_train_memory_bytes"
    if name not in sitting.medians:
        return ""
    found = sitting.medians[name].reindex(list(labels)).dropna()
    if len(found) < 2:
        return ""
    low, high = found.min(), found.max()
    least = [labels[str(subject)] for subject in found.index[found == low]]
    most = f"; the largest takes {number(high / low, 2)} times as much" if high > low else ", all the same"
    return f"Smallest peak of memory in training: {listed(least)}, {size(low)}{most}."
