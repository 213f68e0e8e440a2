"""Measure entries in turns, in rounds of an order shuffled each time, until ratios are precise."""

import logging
import math
import random
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from bench.performance.entry import Entry

logger = logging.getLogger(__name__)

ORDER_SEED = 0  # of the order in which entries take turns
MIN_ROUNDS = 8  # fewer samples give no 95 % interval of a median
LOG_SECONDS = 10.0  # between two lines of progress


class MirroredOrder:
    """Shuffle the entries for a round and mirror that in the next, so that drift is shared."""

    def __init__(self) -> None:
        self.random = random.Random(ORDER_SEED)
        self.last: list[Entry] = []

    def next(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the order of the next round."""
        mirrored = self.last[::-1]
        self.last = [] if mirrored else self.random.sample(entries, len(entries))
        return mirrored or self.last


def run_round(
    entries: Sequence[Entry], kinds: Sequence[str], order: MirroredOrder
) -> list[tuple[Entry, str, Any]]:
    """Measure one window of each kind with each entry that supports it: (entry, kind, window)."""
    turns = order.next(entries)
    windows = ((entry, kind, entry.window(kind)) for kind in kinds for entry in turns)
    return [(entry, kind, window) for entry, kind, window in windows if window is not None]


def store_windows(windows: Sequence[tuple[Entry, str, Any]], number: int) -> None:
    for entry, kind, window in windows:
        entry.samples.windows.setdefault(kind, []).append((number, window))


def run_rounds(entries: Sequence[Entry], kinds: Sequence[str], rounds: int) -> None:
    """Measure `rounds` rounds after a warm-up round that is dropped."""
    order = MirroredOrder()
    if kinds and rounds:
        run_round(entries, kinds, order)
    for number in range(rounds):
        store_windows(run_round(entries, kinds, order), number)


class TimeLimit:
    """End the rounds of a process after its part of the seconds, and log how many are left."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = self.logged = time.monotonic()

    def reached(self) -> bool:
        return time.monotonic() - self.started > self.seconds

    def log_progress(self, number: int, rounds: range, kinds: Sequence[str]) -> None:
        """Log the round and the seconds left, at intervals of LOG_SECONDS."""
        now = time.monotonic()
        if now - self.logged > LOG_SECONDS:
            spent, self.logged = now - self.started, now
            per_round = spent / max(1, number - rounds.start)
            left = min(self.seconds - spent, per_round * (rounds.stop - number))
            message = "measuring: round %d of at most %d, at most %.0f s left, %s"
            logger.info(message, number, rounds.stop, left, ", ".join(kinds))


def run_rate_rounds(
    entries: Sequence[Entry], kinds: Sequence[str], first: int, share: float
) -> int:
    """Measure rounds from number `first` on until all ratios are precise or a limit is reached.

    `share`: of all processes, those started so far; they get that share of the rounds, an equal
    part of the seconds, and a tolerance that falls to `measure.narrow` with the last process.
    Return the number of the next round.
    """
    options, order, pending = entries[0].options, MirroredOrder(), list(kinds)
    rounds = range(first, math.ceil(options.rounds * share))
    fewest = math.ceil(MIN_ROUNDS / options.processes)
    run_round(entries, kinds, order)
    limit = TimeLimit(options.cap_seconds / options.processes)
    for number in rounds:
        if number - first >= fewest and limit.reached():
            return number
        limit.log_progress(number, rounds, pending)
        store_windows(run_round(entries, pending, order), number)
        if number + 1 - first >= fewest and (number - first) % 2:
            width = options.narrow / math.sqrt(share)
            pending = [kind for kind in pending if not is_precise(entries, kind, width)]
        if not pending:
            return number + 1
    return rounds.stop


def is_precise(entries: Sequence[Entry], kind: str, width: float) -> bool:
    """Return whether each ratio of rates to the first entry has a half-width of at most `width`."""
    live = [e for e in entries if e.status == "done" and e.samples.windows.get(kind)]
    reference = rate_by_round(live[0], kind) if live else {}
    for entry in live[1:]:
        rates = rate_by_round(entry, kind)
        ratios = np.array(
            [rates[number] / reference[number] for number in rates if number in reference]
        )
        if len(ratios) and relative_half_width(ratios) > width:
            return False
    return True


def rate_by_round(entry: Entry, kind: str) -> dict[int, float]:
    """Return tokens per second by round."""
    windows = entry.samples.windows.get(kind, [])
    return {number: w["tokens"] / w["wall"] for number, w in windows if w["wall"] > 0}


def relative_half_width(ratios: np.ndarray) -> float:
    """Return half the width of the median's 95 % rank interval as a share of the median."""
    if len(ratios) < MIN_ROUNDS:
        return float("inf")
    ranked, low = np.sort(ratios), median_interval_rank(len(ratios))
    return float((ranked[len(ranked) - 1 - low] - ranked[low]) / 2 / np.median(ratios))


@cache
def median_interval_rank(count: int) -> int:
    """Return the rank, from 0, of the lower end of a median's 95 % interval."""
    below, rank = 0, -1
    while below <= 0.025 * 2**count:
        rank += 1
        below += math.comb(count, rank)
    return max(0, rank - 1)
