"""Interpolated Kneser–Ney n-grams over ids, of every order up to one at once, by sorting alone.

The distributions of Kneser & Ney (1995) in the interpolated form of Chen & Goodman (1999): the highest order counts how often
an n-gram was seen, every lower one in how many contexts. `modified` has three discounts an order (Chen & Goodman), else one.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
FALLBACK_DISCOUNTS = {
    False: (0.5, 0.5, 0.5),
    True: (0.5, 1.0, 1.5),
}  # where too few counts are small to estimate discounts from


def discounts(counts: Ids, modified: bool = True) -> Floats:
    """(3,): what is taken off counts of 1, of 2, and of 3 or more, from how many counts are 1, 2, 3 and 4."""
    ones, twos, threes, fours = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    found = np.zeros(3)
    if ones and twos:
        share = ones / (ones + 2 * twos)
        found = np.full(3, share)
        if modified:
            found = np.array(
                [
                    share,
                    2 - 3 * share * threes / twos,
                    3 - 4 * share * fours / threes if threes else 0.0,
                ]
            )
    return (
        found
        if ((found > 0) & (found <= [1, 2, 3])).all()
        else np.array(FALLBACK_DISCOUNTS[modified])
    )


class OrderCounts:
    """One order of counts: `counts` (G,) of each n-gram, `histories` (G,) the id of what stands before its last token."""

    def __init__(self, counts: Ids, histories: Ids, modified: bool):
        taken = np.concatenate([[0.0], discounts(counts[counts > 0], modified)])[
            np.minimum(counts, 3)
        ]
        self.own, self.totals = counts - taken, np.bincount(histories, counts)
        self.freed = np.bincount(
            histories, taken
        )  # what the discounts of a history leave to shorter ones

    def probability(self, grams: Ids, histories: Ids, shorter: Floats) -> Floats:
        """(N,) of n-grams after their histories, given the same after shorter ones; a history never seen adds nothing."""
        totals = self.totals[histories]
        safe = np.where(totals > 0, totals, 1.0)
        return np.where(
            totals > 0, (self.own[grams] + self.freed[histories] * shorter) / safe, shorter
        )


def probabilities(
    train: Ids, held_out: Ids, size: int, order: int, modified: bool = True
) -> Iterator[Floats]:
    """For n = 1 … order: (N,) the probability of each held-out id after the n − 1 before it. `size`: of the vocabulary.

    The first n − 1 of them, which have not so many before them, are to be taken from a lower order.
    """
    text, border = np.concatenate([train, held_out]).astype(np.int64), len(train)
    grams, histories = (
        text,
        np.zeros(len(text), np.int64),
    )  # ids of what ends at each place: n-grams, and what is before them
    lower = np.full(len(held_out), 1 / size)
    for n in range(1, order + 1):
        longer, suffixes = _extend_ngrams(grams, text, size, n)
        kinds = int(grams.max()) + 1
        before = np.zeros(kinds, np.int64)
        before[grams] = histories
        ends = np.zeros(
            len(suffixes), bool
        )  # the (n+1)-grams of the training text: each is one context of its last n tokens
        ends[longer[n:border]] = True
        seen = np.bincount(grams[n - 1 : border], minlength=kinds)
        contexts = np.bincount(suffixes[ends], minlength=kinds)
        place = grams[border:], histories[border:], lower
        yield OrderCounts(seen, before, modified).probability(*place)
        lower = OrderCounts(contexts, before, modified).probability(*place)
        histories = np.concatenate([[0], grams[:-1]])
        grams = longer


def _extend_ngrams(grams: Ids, text: Ids, size: int, n: int) -> tuple[Ids, Ids]:
    """(N,) ids of the (n+1)-grams that end at each place, void at the first n; and for each id that of its last n tokens."""
    keys = np.full(len(text), -1, np.int64)
    keys[n:] = grams[n - 1 : -1] * size + text[n:]
    ids, kinds = pd.factorize(keys)
    suffixes = np.empty(len(kinds), np.int64)
    suffixes[ids] = grams  # which of its places is the same
    return ids, suffixes
