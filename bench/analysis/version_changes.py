"""What comparing two results folders yields: a row per measured change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bench.stats import Changes, Numbers

QUALITY, SPEED, MEMORY = KINDS = ("quality", "speed", "memory")
WORSE, BETTER, IDENTICAL = "worse", "better", "identical"
WITHIN_THRESHOLD, FAILED = "within the threshold", "failed"
NOT_DISTINGUISHABLE, NO_CLAIM = "not distinguishable", "no claim"


@dataclass(frozen=True)
class Change:
    """One measured change, from OLD to NEW.

    `change`, `low` and `high` (95 % interval) are new − old in bits per byte or nats per token, or
    new / old − 1 for speed, whose `old` and `new` are ratios to the reference, and memory.
    """

    kind: str  # of KINDS
    label: str  # of the variant or the measured architecture
    metric: str
    old: float
    new: float
    change: float
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")  # corrected for all rows of the comparison
    verdict: str = ""  # one of the constants above
    detectable: float = float("nan")  # the change that is found 4 times in 5
    basis: str = ""  # what was sampled
    reason: str = ""  # why nothing is claimed, or what failed

    @property
    def decided(self) -> bool:
        """Return whether a regression of this size would have been shown."""
        return self.verdict != NO_CLAIM


class Uncompared(NamedTuple):
    """Something that only one folder holds, or that the two hold of unlike kinds."""

    kind: str
    label: str
    reason: str


class TestedRows(NamedTuple):
    """Rows without verdicts, and their test: a positive difference is worse."""

    rows: Sequence[Change]
    tests: Changes
    margins: Numbers  # that a difference has to exceed
    shown: Callable[[float], float]  # from a tested difference to a change as shown


@dataclass(frozen=True)
class KindChanges:
    """The changes of one kind, before the correction over all of them."""

    tested: Sequence[TestedRows] = ()
    settled: Sequence[Change] = ()  # their verdict needs no test
    uncompared: Sequence[Uncompared] = ()
    notes: Sequence[str] = ()


def with_intervals(
    rows: Sequence[Change],
    tests: Changes,
    margins: Numbers,
    shown: Callable[[float], float] = float,
) -> TestedRows:
    """Add the interval of each change, as it is shown."""
    ends = [tests.difference - tests.spread.half, tests.difference + tests.spread.half]
    filled = [
        replace(row, low=min(shown(low), shown(high)), high=max(shown(low), shown(high)))
        for row, low, high in zip(rows, *ends, strict=True)
    ]
    return TestedRows(filled, tests, margins, shown)
