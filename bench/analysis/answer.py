"""Answers to the questions that a comparison is made for, and their sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.analysis.badges import Badge, name_some
from bench.analysis.formatting import format_bytes, format_fixed, format_number, join_words

QUALITY, MEMORY = "quality", "memory"
TITLES = {
    QUALITY: "Best quality",
    "training": "Fastest training",
    "decoding-1": "Fastest decoding, batch 1",
    "decoding-32": "Fastest decoding, batch 32",
    MEMORY: "Least training memory",
}
REASONS = {  # why a question has no winner, or its first row no verdict
    "calibration-failed": "a calibration check failed",
    "stopped": "the session was stopped before its end",
    "no-duplicate": "no model was measured twice (A/A control), so the noise is unknown",
    "duplicate-lacks-metric": "the A/A control has no such rate",
    "duplicate-without-interval": "the A/A control has one round only, so the noise is unknown",
    "no-verdict": "one seed each, and no nats of the same documents",
}


class Gap(NamedTuple):
    """A difference of two scores or a ratio of two rates or sizes, with its 95 % interval."""

    value: float
    low: float  # equal to the value where it is exact
    high: float
    p: float = math.nan  # of a difference, adjusted for all pairs of the table


class Rank(NamedTuple):
    """A row of a comparison and its value; `row` is −1 for what was measured and not trained."""

    label: str
    value: float
    row: int = -1


class Order(NamedTuple):
    """The rows not distinguishable from the first, and the nearest that is clearly behind it."""

    winners: tuple[Rank, ...] = ()
    next: Rank | None = None
    gap: Gap | None = None
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer to one question about one table of scores, or one session of measurements."""

    question: str  # a key of TITLES
    metric: str
    comparison: str  # the name of the Comparison; empty where nothing was trained
    session: str  # the name of the session; empty for quality
    winners: tuple[Rank, ...]  # the best first; several where not distinguishable
    next: Rank | None  # the nearest row that is clearly behind the first
    gap: Gap | None  # of scores next − first; of rates and sizes the ratio, above 1
    reason: str  # a key of REASONS where nothing may be claimed, else empty
    noise: Gap | None  # the gap of the A/A pair
    badges: tuple[Badge, ...]

    @property
    def title(self) -> str:
        """Return the question as a heading."""
        return TITLES[self.question]

    @property
    def is_ratio(self) -> bool:
        """Tell whether the gap is a ratio."""
        return self.question != QUALITY

    @property
    def noise_size(self) -> float:
        """Return the noise as one number: the share, or the difference, that it reaches."""
        if self.noise is None:
            return math.nan
        if self.is_ratio:
            return max(self.noise.high, 1 / self.noise.low) - 1
        return max(abs(self.noise.low), abs(self.noise.high))


QUESTION_NAMES = {
    "training": "training",
    "decoding-1": "decoding",
    "decoding-32": "batched decoding",
}


def cost_sentences(answers: Sequence[Answer]) -> list[str]:
    """Return the answers about speed and memory of one session, and what is not claimed."""
    rates = [one for one in answers if one.question in QUESTION_NAMES]
    sentences = [_fastest(one) for one in rates if one.winners]
    reasons = dict.fromkeys(one.reason for one in rates if one.reason)
    for reason in reasons:
        names = [QUESTION_NAMES[one.question] for one in rates if one.reason == reason]
        sentences.append(f"No speed claim about {join_words(names)}: {REASONS[reason]}.")
    return sentences + [_smallest(one) for one in answers if one.question == MEMORY and one.winners]


def noise_text(answer: Answer) -> str:
    """Return the noise of the A/A pair as a figure: A/A ±3.6 %."""
    return f"A/A ±{100 * answer.noise_size:.1f} %" if answer.noise else ""


def _names(answer: Answer) -> str:
    return name_some([winner.label for winner in answer.winners])


def _fastest(answer: Answer) -> str:
    title = f"Fastest {answer.title.removeprefix('Fastest ')}"
    noise = f" ({noise_text(answer)})"
    several = len(answer.winners) > 1
    opening = f"{title}{' is not distinguishable' if several else ''}: {_names(answer)}"
    if answer.gap is None or answer.next is None:
        return f"{opening}{noise}."
    span = f"{format_fixed(answer.gap.low)} to {format_fixed(answer.gap.high)}"
    times = f"{format_fixed(answer.gap.value, 2)} times the rate of {answer.next.label}"
    named = f"; {answer.winners[0].label}" if several else ","
    return f"{opening}{named} {times} (95 % interval {span}; {noise_text(answer)})."


def _smallest(answer: Answer) -> str:
    size = format_bytes(answer.winners[0].value)
    several = " is not distinguishable" if len(answer.winners) > 1 else ""
    opening = f"{answer.title}{several}: {_names(answer)}, {size}"
    if answer.gap is None or answer.next is None:
        return f"{opening}."
    return f"{opening}; {answer.next.label} takes {format_number(answer.gap.value)} times as much."
