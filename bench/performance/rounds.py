"""Rounds of windows: everyone in turns, in an order shuffled each time, until the ratios are known well enough."""

import math
import random
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.performance.entry import Entry

ORDER_SEED = 0  # of the order in which architectures take turns
MIN_ROUNDS = 8  # rounds before anything is settled: an interval of a median over fewer is not one
LOG_SECONDS = 10.0  # between lines that tell how far it is

Progress = Callable[[str], None]


class MirroredOrder:
    """In which order the seats take their turns: shuffled, then the same backwards, so that a drift falls on all alike."""

    def __init__(self) -> None:
        self.random = random.Random(ORDER_SEED)
        self.last: list[Entry] = []

    def next(self, table: Sequence[Entry]) -> list[Entry]:
        """The order of the next round."""
        if self.last:
            order, self.last = self.last[::-1], []
        else:
            order = self.last = self.random.sample(table, len(table))
        return order


def run_round(
    table: Sequence[Entry], kinds: Sequence[str], order: MirroredOrder
) -> list[tuple[Entry, str, Any]]:
    """One window of each kind from everyone who can give it: (seat, kind, window)."""
    turns = order.next(table)
    windows = ((seat, kind, seat.window(kind)) for kind in kinds for seat in turns)
    return [(seat, kind, window) for seat, kind, window in windows if window is not None]


def store_windows(taken: Sequence[tuple[Entry, str, Any]], round_: int) -> None:
    for seat, kind, window in taken:
        seat.samples.windows.setdefault(kind, []).append((round_, window))


def run_rounds(table: Sequence[Entry], kinds: Sequence[str], rounds: int) -> None:
    """So many rounds, after one that warms up and is not kept."""
    order = MirroredOrder()
    if kinds and rounds:
        run_round(table, kinds, order)
    for round_ in range(rounds):
        store_windows(run_round(table, kinds, order), round_)


def run_rate_rounds(
    table: Sequence[Entry], kinds: Sequence[str], first: int, share: float, say: Progress
) -> int:
    """Rounds from number `first` until every ratio to the first seat is known well enough, or the limits; the next number.

    Well enough is `measure.narrow` once all processes have had their turn; these are the ones up to a `share` of all, which get
    that share of the rounds, and an equal part of the seconds.
    """
    options, order, open_ = table[0].options, MirroredOrder(), list(kinds)
    last, seconds = math.ceil(options.rounds * share), options.cap_seconds / options.processes
    fewest = math.ceil(MIN_ROUNDS / options.processes)
    run_round(table, kinds, order)
    began = spoke = time.monotonic()
    for round_ in range(first, last):
        now = time.monotonic()
        if round_ - first >= fewest and now - began > seconds:
            return round_
        if now - spoke > LOG_SECONDS:
            left = min(
                seconds - (now - began), (now - began) / max(1, round_ - first) * (last - round_)
            )
            say(
                f"measuring: round {round_} of {options.rounds} at most, {left:.0f} s at most, {', '.join(open_)}"
            )
            spoke = now
        store_windows(run_round(table, open_, order), round_)
        if round_ + 1 - first >= fewest and (round_ - first) % 2:
            open_ = [
                kind
                for kind in open_
                if not is_precise(table, kind, options.narrow / math.sqrt(share))
            ]
        if not open_:
            return round_ + 1
    return last


def is_precise(table: Sequence[Entry], kind: str, narrow: float) -> bool:
    """Whether every ratio of a kind's rates to the first seat's is known to within `narrow`."""
    live = [seat for seat in table if seat.status == "done" and seat.samples.windows.get(kind)]
    first = rate_by_round(live[0], kind) if live else {}
    for seat in live[1:]:
        there = rate_by_round(seat, kind)
        ratios = np.array([there[round_] / first[round_] for round_ in there if round_ in first])
        if len(ratios) and relative_half_width(ratios) > narrow:
            return False
    return True


def rate_by_round(seat: Entry, kind: str) -> dict[int, float]:
    """Tokens a second by round."""
    taken = seat.samples.windows.get(kind, [])
    return {
        round_: window["tokens"] / window["wall"] for round_, window in taken if window["wall"] > 0
    }


def relative_half_width(ratios: "np.ndarray") -> float:
    """Half the width of the median's 95 % interval as a share of the median: from ranks, whatever the distribution."""
    if len(ratios) < MIN_ROUNDS:
        return float("inf")
    ranked, low = np.sort(ratios), median_interval_rank(len(ratios))
    return float((ranked[len(ranked) - 1 - low] - ranked[low]) / 2 / np.median(ratios))


@cache
def median_interval_rank(count: int) -> int:
    """Which of so many ranked samples (from 0) is the lower end of the median's 95 % interval; the upper end mirrors it."""
    below, rank = 0, -1
    while below <= 0.025 * 2**count:
        rank += 1
        below += math.comb(count, rank)
    return max(0, rank - 1)
