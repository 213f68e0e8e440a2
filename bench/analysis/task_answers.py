"""Answer three questions about a task: best at it, gain of pre-training, encoder or decoder."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from scipy.stats import kendalltau

from bench.analysis.fine_tuning import CONTROL_SUFFIX, TaskTable
from bench.analysis.formatting import join_words
from bench.records.metrics import describe

MIN_BASES = 3  # architectures, from which on an order of them says something
PRETRAINING = {
    "pretrained": "pre-training",
    "self": "pre-training on the task’s own training texts",
}


def format_score(metric: str, value: float, half: float = math.nan) -> str:
    """Return a value with half its interval: a share in percent, else in the metric's unit."""
    unit = describe(metric).unit
    return f"{_number(metric, value, half)} {'%' if unit == 'share' else unit}"


def format_gain(metric: str, value: float, half: float) -> str:
    """Return a difference with its sign and half its interval, a share in points."""
    return _number(metric, value, half, "+")


def _number(metric: str, value: float, half: float, sign: str = "") -> str:
    scale, digits = (100, 1) if describe(metric).unit == "share" else (1, 3)
    interval = f" ± {scale * half:.{digits}f}" if math.isfinite(half) else ""
    return f"{scale * value:{sign}.{digits}f}{interval}"


def task_answers(table: TaskTable) -> Iterator[str]:
    """Yield a sentence for each question that the rows of a task can answer."""
    if "pretrained" not in table.arms:
        return
    rows = table.rows[table.rows["pretrained"].notna()]
    rows = rows[~rows["label"].str.endswith(CONTROL_SUFFIX)]
    if rows.empty:
        return
    yield from filter(None, (_best(table, rows), _not_beaten(table, rows)))
    yield from _gains(table, rows)
    yield from filter(None, (_encoder_or_decoder(table, rows), _order_of_bases(table)))
    if (table.verdicts["basis"] == "documents").any():
        yield "Over test examples only: seeds were not sampled, another seed may differ by more."
    if not table.equal_order:
        yield "The order of the examples differs between runs of one seed: do not compare them."


def _best(table: TaskTable, rows: pd.DataFrame) -> str:
    best: Any = next(iter(rows.itertuples()))
    score = format_score(table.metric, best.pretrained, best.pretrained_half)
    sentence = f"Best at {table.title}: {best.label}, {describe(table.metric).title} {score}"
    others = [str(label) for label in rows["label"] if label != best.label]
    pairs = {other: _pair(table, best.label, other) for other in others}
    level = [other for other, pair in pairs.items() if pair is not None and pair.kind != "better"]
    if not others:
        return f"{sentence}, with nothing to compare it with."
    if level:
        return f"{sentence}; not distinguishable from {join_words(level)}."
    return f"{sentence}; better than each of the others."


def _pair(table: TaskTable, one: str, other: str) -> Any:
    """Return the verdict on two rows; None where there is none."""
    pairs = table.verdicts.itertuples()
    return next((pair for pair in pairs if {pair.first, pair.second} == {one, other}), None)


def _not_beaten(table: TaskTable, rows: pd.DataFrame) -> str:
    """Return which rows are no better than a baseline, by the best baseline of each."""
    values = dict(zip(table.baselines["name"], table.baselines["value"], strict=True))
    higher = describe(table.metric).better == "higher"
    by_baseline: dict[str, list[str]] = {}
    lines: Any = rows.itertuples()
    for row in lines:
        if row.no_better_than:
            strongest = (max if higher else min)(row.no_better_than, key=values.__getitem__)
            by_baseline.setdefault(strongest, []).append(row.label)
    return " ".join(
        f"No better than {name} ({format_score(table.metric, values[name])}): {join_words(labels)}."
        for name, labels in by_baseline.items()
    )


def arm_title(arm: str) -> str:
    """Return the heading of an arm."""
    titles = {"pretrained": "pre-trained", "self": "own texts"}
    return titles.get(arm, f"from {arm}")


def arm_words(arm: str) -> str:
    """Return what the models of an arm went through before the examples or with them."""
    factor = arm.partition(" × ")[2]
    scratch = f"{factor} times as many" if factor else "the same"
    return PRETRAINING.get(arm, f"{scratch} steps from scratch")


def _gains(table: TaskTable, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what each arm that was pre-trained gains over another, over scratch first."""
    unit = "points" if describe(table.metric).unit == "share" else describe(table.metric).unit
    gains = table.gains[table.gains["label"].isin(rows["label"])]
    for arm, over in (("pretrained", "scratch"), ("self", "scratch"), ("pretrained", "self")):
        for other in (name for name in table.arms if name.startswith(over)):
            chosen = gains[(gains["arm"] == arm) & (gains["over"] == other)]
            lines: Any = chosen.sort_values("value", ascending=False).itertuples()
            texts = [f"{g.label} {format_gain(table.metric, g.value, g.half)}" for g in lines]
            if texts:
                opening = f"Gain of {arm_words(arm)} over {arm_words(other)}, in {unit}"
                yield f"{opening}: {', '.join(texts)}."


def _order_of_bases(table: TaskTable) -> str:
    """Return how far the order of the scores is that of the pre-trained models' losses."""
    means = table.points.groupby("label")[["bits", "value"]].mean()
    if len(means) < MIN_BASES:
        return ""
    sign = 1 if describe(table.metric).better == "lower" else -1
    order: Any = kendalltau(means["bits"], sign * means["value"])
    return (
        "Does the better language model fine-tune better? Kendall’s τ of bits per byte before and "
        f"score after, over {len(means)} architectures: {order.statistic:.2f} "
        f"(p = {order.pvalue:.2g}); 1 is the same order, 0 is none."
    )


def _encoder_or_decoder(table: TaskTable, rows: pd.DataFrame) -> str:
    """Return the verdict on the best encoder and the best causal model."""
    best = rows.dropna(subset="encoder").drop_duplicates("encoder").set_index("encoder")["label"]
    pair = _pair(table, str(best[True]), str(best[False])) if len(best) > 1 else None
    return f"Encoder or decoder: {pair.sentence}." if pair is not None else ""
