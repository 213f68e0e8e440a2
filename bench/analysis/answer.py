"""Types of the answers to the questions that a comparison is made for."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from bench.analysis.badges import Badge

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
    noise: Gap | None  # the same of the A/A pair
    badges: tuple[Badge, ...]
    reason: str  # a key of REASONS where nothing may be claimed, else empty

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


class Order(NamedTuple):
    """The rows not distinguishable from the first, and the nearest that is clearly behind it."""

    winners: tuple[Rank, ...] = ()
    next: Rank | None = None
    gap: Gap | None = None
    reason: str = ""


def make_answer(
    about: tuple[str, str, str, str], order: Order, noise: Gap | None, badges: tuple[Badge, ...]
) -> Answer:
    """Return an answer; `about`: question, metric, comparison and session."""
    return Answer(*about, order.winners, order.next, order.gap, noise, badges, order.reason)
