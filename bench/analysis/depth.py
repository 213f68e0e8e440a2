"""How many rounds a session measured, and how wide the intervals of its ratios are."""

from statistics import median
from typing import NamedTuple

from bench.analysis.sessions import RATES, TRAIN_RATE, Point, scalar_point
from bench.analysis.speed_groups import SpeedGroup


class Depth(NamedTuple):
    """Rounds of a group's measurement, and half widths of its ratios' intervals as shares."""

    rate_rounds: int
    length_rounds: int
    median_half: float | None
    largest_half: float | None  # of several


def measurement_depth(group: SpeedGroup) -> Depth:
    """Return how many rounds were measured, and how wide the intervals are."""
    session = group.session
    points: list[Point] = [
        (TRAIN_RATE, "length", n) for n in session.places(TRAIN_RATE, "length")[:1]
    ]
    halves = [
        ratio.half / ratio.value
        for (subject, name), ratio in session.ratios.items()
        if name in RATES and subject in group.names.index and ratio.rounds > 1
    ]
    return Depth(
        session.rounds(scalar_point(TRAIN_RATE)),
        max(map(session.rounds, points), default=0),
        median(halves) if halves else None,
        max(halves) if len(halves) > 1 else None,
    )
