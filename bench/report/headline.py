"""The sentences at the top: what was compared, and only what the numbers carry."""

import pandas as pd

from bench.report.comparisons import Comparison, against
from bench.report.rows import each
from bench.report.speeds import Sitting
from bench.report.statistics import Interval
from bench.report.tables import Tables
from bench.report.wording import fixed, large, listed, number, plural, size

NAMED = 4  # so many rows are named in a sentence; the rest are counted
METRICS = {"train_tokens_per_second": "training", "decode_tokens_per_second": "decoding"}


def sentences(comparison: Comparison, tables: Tables, sittings: list[Sitting]) -> list[str]:
    """What was compared; the lowest bits per byte; then, for each machine, the fastest and the smallest."""
    said = [_compared(comparison)]
    said += [_quality(table, tables) for table in comparison.likelihoods if len(table) > 1]
    for sitting in sittings:
        measured = comparison.rows[comparison.rows["subject"].isin(sitting.medians.index)]
        if measured["subject"].nunique() > 1:
            where = f"On machine {sitting.machine}: " if len({one.machine for one in sittings}) > 1 else ""
            said.append(where + " ".join([*_speeds(measured, sitting), _memory(measured, sitting)]).strip())
    return [line for line in said if line]


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


def _speeds(rows: pd.DataFrame, sitting: Sitting) -> list[str]:
    """A sentence for each clocked metric; where the A/A pair forbids a claim, one that says so."""
    said, silent = [], []
    for metric, verb in METRICS.items():
        subjects = {str(row.subject): str(row.label) for row in each(rows)}
        ratios = {
            label: sitting.ratios[subject, metric] for subject, label in subjects.items() if (subject, metric) in sitting.ratios
        }
        if len(ratios) < 2:
            continue
        if sitting.claims(metric):
            said.append(_fastest(ratios, verb))
        else:
            silent.append(verb)
    if silent:
        twins = [pair for metric, pair in sitting.twins.items() if METRICS.get(metric) in silent]
        low, high = min((pair.low for pair in twins), default=1.0), max((pair.high for pair in twins), default=1.0)
        why = (
            f"the same model entered twice differed by a ratio of {fixed(low)} to {fixed(high)}"
            if twins
            else "no model was entered twice"
        )
        said.append(f"No claim about the speed of {listed(silent)} on this machine: {why}.")
    return said


def _fastest(ratios: dict[str, Interval], verb: str) -> str:
    ranked = sorted(ratios, key=lambda label: -ratios[label].value)
    top, after = ratios[ranked[0]], ratios[ranked[1]]
    if after.high >= top.low:
        same = [label for label in ranked if ratios[label].high >= top.low]
        return f"Fastest in {verb} is not distinguishable here: {listed(same)}."
    return f"Fastest in {verb}: {ranked[0]}, {fixed(top.value / after.value, 2)} times the rate of the next, {ranked[1]}."


def _memory(rows: pd.DataFrame, sitting: Sitting) -> str:
    name = "peak_train_memory_bytes"
    if name not in sitting.medians:
        return ""
    table = rows.assign(bytes=sitting.medians[name].reindex(rows["subject"]).to_numpy()).dropna(subset=["bytes"])
    if len(table) < 2:
        return ""
    low, high = table["bytes"].min(), table["bytes"].max()
    least = list(table.loc[table["bytes"] == low, "label"])
    most = f"; the largest takes {number(high / low, 2)} times as much" if high > low else ", all the same"
    return f"Smallest peak of memory in training: {listed(least)}, {size(low)}{most}."
