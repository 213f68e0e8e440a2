"""The answer in large type: what is best at each question, by how much, and how sure that is."""

import math
from typing import Any, NamedTuple

from bench.analysis.answer import MEMORY, QUALITY, REASONS, Answer, Gap, noise_text
from bench.analysis.badges import Badge
from bench.analysis.build import Analysis
from bench.analysis.formatting import format_fixed
from bench.reporting.page_data import measure_spec, measure_text

MAX_WINNERS = 3  # more are counted
BADGE_TITLES = {
    "one-rate": "one rate for all",
    "unequal-trials": "unequal tuning",
    "rate-elsewhere": "rates from other settings",
    "rate-by-hand": "rates by hand",
    "rate-at-edge": "rates at the edge of the search",
    "fewer-seeds": "fewer seeds",
    "one-seed": "one seed",
    "still-falling": "still falling",
    "baseline-better": "an n-gram is better",
    "train-form": "training limited by its form",
    "decode-form": "decoding limited by its form",
}


class Card(NamedTuple):
    """One answer as the page shows it."""

    title: str
    winners: str
    value: str
    gap: str
    noise: str
    session: str
    badges: list[tuple[str, str]]  # title and sentence


def answer_cards(analysis: Analysis) -> dict[str, list[Card]]:
    """Return the cards of each comparison by its name; empty for what was only measured."""
    cards: dict[str, list[Card]] = {}
    for answer in analysis.answers:
        cards.setdefault(answer.comparison, []).append(_card(answer))
    return cards


def _card(answer: Answer) -> Card:
    first = answer.winners[0] if answer.winners else None
    metric = measure_spec(answer.metric)
    unit = f" {metric.unit}" if metric.unit and metric.unit != "bytes" else ""
    value = f"{measure_text(answer.metric, first.value)}{unit}" if first else ""
    return Card(
        answer.title,
        _names(answer) if first else "no claim",
        value,
        REASONS.get(answer.reason, "") or _gap_text(answer),
        _noise(answer),
        answer.session,
        [_badge(badge) for badge in answer.badges],
    )


def _names(answer: Answer) -> str:
    """Return the winners, joined by ≈ where they are not distinguishable."""
    names = [winner.label for winner in answer.winners]
    left = len(names) - MAX_WINNERS
    return " ≈ ".join([*names[:MAX_WINNERS], *[f"{left} more"] * (left > 0)])


def _gap_text(answer: Answer) -> str:
    """Return by how much the first row is ahead of the next that is clearly behind it."""
    gap, behind = answer.gap, answer.next
    if gap is None or behind is None:
        return "no row is clearly behind" if len(answer.winners) > 1 else ""
    first = f"{answer.winners[0].label} " if len(answer.winners) > 1 else ""
    span = "" if gap.low == gap.high else f" ({_span(gap)})"
    if answer.question == QUALITY:
        p = f", p {_p_text(gap.p)}" if math.isfinite(gap.p) else ""
        return f"{first}better than {behind.label} by {format_fixed(gap.value)}{span}{p}"
    times = f"{format_fixed(gap.value, 2)} times"
    if answer.question == MEMORY:
        return f"{behind.label} takes {times} as much as {answer.winners[0].label}{span}"
    return f"{first}{times} the rate of {behind.label}{span}"


def _span(gap: Gap) -> str:
    return f"{format_fixed(gap.low)} to {format_fixed(gap.high)}"


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {format_fixed(p)}"


def _noise(answer: Answer) -> str:
    if answer.noise is None or answer.is_ratio:
        return noise_text(answer)
    return f"A/A ±{format_fixed(answer.noise_size)}"


def _badge(badge: Badge) -> Any:
    return BADGE_TITLES.get(badge.code, badge.code.replace("-", " ")), badge.text
