"""The sentences at the top: what was compared, and only what the numbers carry."""

import pandas as pd

from bench.report.comparisons import Comparison, against
from bench.report.speeds import Sitting
from bench.report.tables import Tables
from bench.report.wording import fixed, large, listed, number, plural, size

METRICS = {"train_tokens_per_second": "trains", "decode_tokens_per_second": "writes"}


def sentences(comparison: Comparison, tables: Tables, sittings: list[Sitting]) -> list[str]:
    """What was compared; the lowest bits per byte; the fastest; the smallest."""
    said = [_compared(comparison)]
    said += [_quality(table, tables) for table in comparison.likelihoods if len(table) > 1]
    for sitting in sittings:
        measured = comparison.rows[comparison.rows["subject"].isin(sitting.medians.index)]
        if measured["subject"].nunique() > 1:
            where = f" on machine {sitting.machine}" if len({one.machine for one in sittings}) > 1 else ""
            said += [line for metric, verb in METRICS.items() if (line := _speed(measured, sitting, metric, verb, where))]
            said.append(_memory(measured, sitting, where))
    return [line for line in said if line]


def _compared(comparison: Comparison) -> str:
    rows = comparison.rows
    seeds = sorted(set(rows["seeds"]))
    tokens = sorted(set(rows["tokens_seen"].dropna()))
    seen = f" {large(tokens[0])} training tokens each," if len(tokens) == 1 else " UNEQUAL numbers of training tokens (see the table),"
    times = plural(int(seeds[0]), "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    return (
        f"{plural(len(rows), 'row')} trained on {listed(sorted(set(rows['data'])))}: at most {rows['budget'].iloc[0]:,} parameters, "
        f"a context of {rows['context'].iloc[0]} tokens,{seen if tokens else ''} {times}."
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
            paired.append(f"{label} by {fixed(gap.value)} ± {fixed(gap.half)}")
        else:
            same.append(label)
    scored = f"on the {best['part']} part" if best["part"] else "on held-out text"
    spread = f" (95 % interval {fixed(best['bits_per_byte_low'])} to {fixed(best['bits_per_byte_high'])})"
    lines = [f"Lowest mean bits per byte {scored}: {best['label']}, {fixed(best['bits_per_byte'])}{spread}."]
    if same:
        lines.append(f"Not distinguishable here from {listed(same)}.")
    if paired:
        lines.append(f"Intervals overlap with these, but on the same documents it is lower than {listed(paired)}.")
    if clear:
        lines.append(f"Intervals lie apart from {listed(clear)}.")
    if table["seeds"].max() == 1:
        lines.append("One seed each: the intervals are over documents only, and say nothing about another seed.")
    return " ".join(lines)


def _speed(rows: pd.DataFrame, sitting: Sitting, metric: str, verb: str, where: str) -> str:
    ratios = {str(r.label): sitting.ratios[str(r.subject), metric] for r in rows.itertuples() if (str(r.subject), metric) in sitting.ratios}
    if len(ratios) < 2:
        return ""
    if not sitting.claims(metric):
        twin = sitting.twins.get(metric)
        why = f"the same model entered twice differed by a ratio of {fixed(twin.low)} to {fixed(twin.high)}" if twin else "no model was entered twice"
        return f"No claim about which {verb} fastest{where}: {why}."
    ranked = sorted(ratios, key=lambda label: -ratios[label].value)
    best, second = ranked[0], ranked[1]
    top, next_ = ratios[best], ratios[second]
    if next_.high >= top.low:
        same = [label for label in ranked if ratios[label].high >= top.low]
        return f"Which {verb} fastest{where} is not distinguishable here: {listed(same)}."
    return f"{best} {verb} fastest{where}: {fixed(top.value / next_.value, 2)} times the rate of {second}, the next one."


def _memory(rows: pd.DataFrame, sitting: Sitting, where: str) -> str:
    name = "peak_train_memory_bytes"
    if name not in sitting.medians:
        return ""
    table = rows.assign(bytes=sitting.medians[name].reindex(rows["subject"]).to_numpy()).dropna(subset=["bytes"])
    if len(table) < 2:
        return ""
    low, high = table["bytes"].min(), table["bytes"].max()
    least = list(table.loc[table["bytes"] == low, "label"])
    return f"Smallest peak of memory in training{where}: {listed(least)}, {size(low)}; the largest takes {number(high / low, 2)} times as much."
