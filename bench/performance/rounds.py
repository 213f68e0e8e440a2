"""Rounds of windows: everyone in turns, in an order shuffled each time, until the ratios are known well enough."""

import math
import random
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.performance.entry import Seat

SEED = 0  # of the order in which architectures take turns
FEWEST = 8  # rounds before anything is settled: an interval of a median over fewer is not one
SPEAK_SECONDS = 10.0  # between lines that tell how far it is

Progress = Callable[[str], None]


class Order:
    """In which order the seats take their turns: shuffled, then the same backwards, so that a drift falls on all alike."""

    def __init__(self) -> None:
        self.random = random.Random(SEED)
        self.last: list[Seat] = []

    def next(self, table: Sequence[Seat]) -> list[Seat]:
        """The order of the next round."""
        if self.last:
            order, self.last = self.last[::-1], []
        else:
            order = self.last = self.random.sample(table, len(table))
        return order


def take_round(
    table: Sequence[Seat], kinds: Sequence[str], order: Order
) -> list[tuple[Seat, str, Any]]:
    """One window of each kind from everyone who can give it: (seat, kind, window)."""
    turns = order.next(table)
    windows = ((seat, kind, seat.window(kind)) for kind in kinds for seat in turns)
    return [(seat, kind, window) for seat, kind, window in windows if window is not None]


def keep(taken: Sequence[tuple[Seat, str, Any]], round_: int) -> None:
    for seat, kind, window in taken:
        seat.samples.windows.setdefault(kind, []).append((round_, window))


def take_rounds(table: Sequence[Seat], kinds: Sequence[str], rounds: int) -> None:
    """So many rounds, after one that warms up and is not kept."""
    order = Order()
    if kinds and rounds:
        take_round(table, kinds, order)
    for round_ in range(rounds):
        keep(take_round(table, kinds, order), round_)


def take_rates(
    table: Sequence[Seat], kinds: Sequence[str], first: int, share: float, say: Progress
) -> int:
    """Rounds from number `first` until every ratio to the first seat is known well enough, or the limits; the next number.

    Well enough is `measure.narrow` once all processes have had their turn; these are the ones up to a `share` of all, which get
    that share of the rounds, and an equal part of the seconds.
    """
    options, order, open_ = table[0].options, Order(), list(kinds)
    last, seconds = math.ceil(options.rounds * share), options.cap_seconds / options.processes
    fewest = math.ceil(FEWEST / options.processes)
    take_round(table, kinds, order)
    began = spoke = time.monotonic()
    for round_ in range(first, last):
        now = time.monotonic()
        if round_ - first >= fewest and now - began > seconds:
            return round_
        if now - spoke > SPEAK_SECONDS:
            left = min(
                seconds - (now - began), (now - began) / max(1, round_ - first) * (last - round_)
            )
            say(
                f"measuring: round {round_} of {options.rounds} at most, {left:.0f} s at most, {', '.join(open_)}"
            )
            spoke = now
        keep(take_round(table, open_, order), round_)
        if round_ + 1 - first >= fewest and (round_ - first) % 2:
            open_ = [
                kind
                for kind in open_
                if not settled(table, kind, options.narrow / math.sqrt(share))
            ]
        if not open_:
            return round_ + 1
    return last


def settled(table: Sequence[Seat], kind: str, narrow: float) -> bool:
    """Whether every ratio of a kind's rates to the first seat's is known to within `narrow`."""
    live = [seat for seat in table if seat.status == "done" and seat.samples.windows.get(kind)]
    first = rates(live[0], kind) if live else {}
    for seat in live[1:]:
        there = rates(seat, kind)
        ratios = np.array([there[round_] / first[round_] for round_ in there if round_ in first])
        if len(ratios) and half_width(ratios) > narrow:
            return False
    return True


def rates(seat: Seat, kind: str) -> dict[int, float]:
    """Tokens a second by round."""
    taken = seat.samples.windows.get(kind, [])
    return {
        round_: window["tokens"] / window["wall"] for round_, window in taken if window["wall"] > 0
    }


def half_width(ratios: "np.ndarray") -> float:
    """Half the width of the median's 95 % interval as a share of the median: from ranks, whatever the distribution."""
    if len(ratios) < FEWEST:
        return float("inf")
    ranked, low = np.sort(ratios), lowest_rank(len(ratios))
    return float((ranked[len(ranked) - 1 - low] - ranked[low]) / 2 / np.median(ratios))


@cache
def lowest_rank(count: int) -> int:
    """Which of so many ranked samples (from 0) is the lower end of the median's 95 % interval; the upper end mirrors it."""
    below, rank = 0, -1
    while below <= 0.025 * 2**count:
        rank += 1
        below += math.comb(count, rank)
    return max(0, rank - 1)
