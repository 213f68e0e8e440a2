"""What a reader has to know beside a number: codes with a sentence, on a row or a whole table."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis import budgets
from bench.analysis.baselines import Baselines, split_by_baseline
from bench.analysis.efficiency import form_limited
from bench.analysis.families import contenders
from bench.analysis.formatting import format_fixed, join_words
from bench.analysis.sessions import TRAIN_RATE, MeasuredSession, Point

MAX_NAMED = 4  # rows are named in a sentence; the rest are counted
ROW_TEXTS = {  # of `{rows}`, by code
    "rate-elsewhere": "The learning rate of {rows} was searched at other settings ({detail}).",
    "rate-by-hand": "The learning rate of {rows} was set by hand, not searched.",
    "rate-at-edge": "No trial bounds the best learning rate of {rows}: a better one may lie beyond "
    "the range.",
    "fewer-seeds": "Fewer seeds than the others or than were started: {rows}.",
    "still-falling": "Still falling at the end of the budget: {detail}.",
}
# of the bits of the best reference line with unlimited context: what no model reaches that reads
# the same training text, unless it sees what it has to predict
IMPLAUSIBLE_SHARE = 0.4
BASELINE_BETTER = "baseline-better"
ELSEWHERE = {
    "steps": "another number of steps",
    "size": "another size",
    "data": "another text",
    "unnoted": "the YAML does not say where",
}


class Badge(NamedTuple):
    """A caveat: its code, a sentence, and the labels of the rows that it concerns."""

    code: str
    text: str
    rows: tuple[str, ...] = ()


def name_some(names: list[str]) -> str:
    """Return a list of names; of many the first, and how many more there are."""
    left = len(names) - MAX_NAMED
    return join_words([*names[:MAX_NAMED], *[f"{left:,} more"] * (left > 0)])


def _row_codes(row: Any, most_seeds: int) -> dict[str, str]:
    """Return the codes that apply to a row, each with its detail."""
    losses = (row.validation_nats_before_end, row.validation_nats_at_end)
    is_falling = budgets.late_fall(*losses) >= budgets.STILL_FALLING
    before, end = (format_fixed(loss, 2) for loss in losses)
    details = {
        "rate-elsewhere": (bool(row.rate_elsewhere), str(row.rate_elsewhere)),
        "rate-by-hand": (row.rate_origin == budgets.BY_HAND, ""),
        "rate-at-edge": (bool(row.untuned), ""),
        "fewer-seeds": (row.seeds < max(most_seeds, row.seeds_asked), ""),
        "still-falling": (
            is_falling,
            f"{row.label} (validation {before} to {end} nats per token "
            "in the last 10 % of the steps)",
        ),
    }
    return {code: detail for code, (applies, detail) in details.items() if applies}


def table_badges(rows: pd.DataFrame) -> list[Badge]:
    """Return the caveats on the scores of one table, controls left out."""
    rows = contenders(rows)
    if rows.empty:
        return []
    most = int(rows["seeds"].max())
    codes = {str(row.label): _row_codes(row, most) for row in rows.itertuples()}
    badges = [*_tuning_badges(rows)]
    for code in ROW_TEXTS:
        details = {label: own[code] for label, own in codes.items() if code in own}
        if details and not (code == "rate-by-hand" and badges and badges[0].code == "one-rate"):
            badges.append(_row_badge(code, details))
    if most == 1:
        text = "One seed each: seeds were not sampled, another seed may differ by more."
        badges.append(Badge("one-seed", text, tuple(codes)))
    return badges


def _row_badge(code: str, details: dict[str, str]) -> Badge:
    shown = [*details.values()]
    if code == "rate-elsewhere":
        kinds = dict.fromkeys(kind for detail in shown for kind in detail.split(", "))
        shown = [ELSEWHERE[kind] for kind in kinds]
    text = ROW_TEXTS[code].format(rows=name_some([*details]), detail=name_some(shown))
    return Badge(code, text, tuple(details))


def _tuning_badges(rows: pd.DataFrame) -> Iterator[Badge]:
    """Yield whether one rate served all, or searches had unequal numbers of trials."""
    by_hand = rows["rate_origin"].eq(budgets.BY_HAND)
    rates = rows["learning_rate"].dropna().unique()
    labels = tuple(rows["label"].map(str))
    if by_hand.all() and len(rates) == 1 and rows["arch"].nunique() > 1:
        text = f"One learning rate, {rates[0]:g}, served all rows: none was tuned."
        yield Badge("one-rate", text, labels)
    trials = sorted(set(rows.loc[~by_hand, "trials"].astype(int)))
    if len(trials) > 1:
        text = f"Unequal tuning: searches of {trials[0]} to {trials[-1]} trials."
        yield Badge("unequal-trials", text, labels)


def baseline_badges(rows: pd.DataFrame, baselines: Baselines) -> list[Badge]:
    """Return badges of reference lines: the best n-gram better than all rows, rows too good."""
    split, line = split_by_baseline(rows, baselines), baselines.best
    badges = _implausible_badges(rows, baselines)
    if split is None or line is None or split.better or split.unclear:
        return badges
    text = f"The {line.name}, counted with the same context, is better than every row: "
    text += f"{format_fixed(line.bits_per_byte)} bits per byte."
    return [*badges, Badge(BASELINE_BETTER, text, tuple(split.worse))]


def _implausible_badges(rows: pd.DataFrame, baselines: Baselines) -> list[Badge]:
    """Return a badge that names the rows which no honest model could be, if there are any."""
    if (line := baselines.lowest) is None:
        return []
    low = rows["bits_per_byte"] < IMPLAUSIBLE_SHARE * line.bits_per_byte
    labels = [*rows.loc[low, "label"].map(str)]
    text = f"Too good to be true: {name_some(labels)} needs less than {IMPLAUSIBLE_SHARE:g} of the "
    text += f"bits of the {line.name} ({format_fixed(line.bits_per_byte)} bits per byte), which "
    text += "has no limit of context: look for a leak, or for test text in the training text."
    return [Badge("implausible", text, tuple(labels))] if labels else []


def step_badges(session: MeasuredSession, labels: dict[str, str]) -> list[Badge]:
    """Return a badge that names the form of the one-token step by which each row is ranked."""
    forms = {form: own for form, own in session.forms(labels).items() if own}
    if not forms:
        return []
    named = (f"{form} for {name_some([labels[one] for one in own])}" for form, own in forms.items())
    text = "Ranked by the faster form of the one-token step of each, eager or compiled: "
    return [Badge("decode-steps", f"{text}{'; '.join(named)}.", tuple(labels.values()))]


def form_badges(session: MeasuredSession, point: Point, labels: dict[str, str]) -> list[Badge]:
    """Return a badge that names the rows whose rate the form of the step limits."""
    limited = [labels[subject] for subject in form_limited(session, point, labels)]
    if not limited:
        return []
    is_training = point[0] == TRAIN_RATE
    step = "Training" if is_training else f"Decoding, batch {point[2] or 1:g},"
    text = (
        f"{step} of {name_some(limited)} runs at under half of the FLOP/s of another row in the "
        "same steps on this machine: the implementation limits the rate, not arithmetic."
    )
    return [Badge("train-form" if is_training else "decode-form", text, tuple(limited))]
