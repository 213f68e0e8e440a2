"""Estimate interpolated Kneser–Ney n-grams over ids, of all orders at once, by sorting alone.

The distributions of Kneser & Ney (1995), interpolated as by Chen & Goodman (1999): the highest
order counts how often an n-gram occurs, lower ones in how many contexts. `modified` has three
discounts per order (Chen & Goodman), otherwise one.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
# where too few counts are small to estimate discounts from
FALLBACK_DISCOUNTS = {False: (0.5, 0.5, 0.5), True: (0.5, 1.0, 1.5)}


def discounts(counts: Ids, modified: bool = True) -> Floats:
    """Return the discounts (3,) of counts of 1, of 2, and of 3 or more.

    They are estimated from how many counts are 1, 2, 3 and 4.
    """
    ones, twos, threes, fours = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    estimates = np.zeros(3)
    if ones and twos:
        share = ones / (ones + 2 * twos)
        estimates = np.full(3, share)
        if modified:
            third = 3 - 4 * share * fours / threes if threes else 0.0
            estimates = np.array([share, 2 - 3 * share * threes / twos, third])
    valid = ((estimates > 0) & (estimates <= [1, 2, 3])).all()
    return estimates if valid else np.array(FALLBACK_DISCOUNTS[modified])


class OrderCounts:
    """Counts of one order: `counts` (G,) of n-grams, `histories` (G,) ids of what precedes them."""

    def __init__(self, counts: Ids, histories: Ids, modified: bool):
        by_count = np.concatenate([[0.0], discounts(counts[counts > 0], modified)])
        taken = by_count[np.minimum(counts, 3)]
        self.own, self.totals = counts - taken, np.bincount(histories, counts)
        # the mass that the discounts of a history leave to shorter ones
        self.freed = np.bincount(histories, taken)

    def probability(self, grams: Ids, histories: Ids, shorter: Floats) -> Floats:
        """Return the probabilities (N,) of n-grams, given those after shorter histories.

        A history that never occurs adds nothing.
        """
        totals = self.totals[histories]
        safe = np.where(totals > 0, totals, 1.0)
        return np.where(
            totals > 0, (self.own[grams] + self.freed[histories] * shorter) / safe, shorter
        )


def probabilities(
    train: Ids,
    held_out: Ids,
    size: int,
    order: int,
    modified: bool = True,
    preceding: Ids | None = None,
) -> Iterator[Floats]:
    """Yield for n = 1 … order the probability (N,) of each held-out id after the n - 1 before it.

    The first n - 1 ids have fewer before them: take those from a lower order. `size` is that of
    the vocabulary. `preceding` (N,): how many training ids stand before each one in its piece of
    text, where that has several.
    """
    border, lower = len(train), np.full(len(held_out), 1 / size)
    for n, (grams, histories, longer, suffixes) in _ids_by_order(train, held_out, size, order):
        before = _by_id(grams, histories)
        occurrences = np.bincount(_inside(grams[:border], preceding, n), minlength=len(before))
        longer_inside = _inside(longer[:border], preceding, n + 1)
        contexts = _context_counts(longer_inside, suffixes, len(before))
        place = grams[border:], histories[border:], lower
        yield OrderCounts(occurrences, before, modified).probability(*place)
        lower = OrderCounts(contexts, before, modified).probability(*place)


def _ids_by_order(
    train: Ids, held_out: Ids, size: int, order: int
) -> Iterator[tuple[int, tuple[Ids, Ids, Ids, Ids]]]:
    """Yield for n = 1 … order the ids at each place of both texts, and the suffixes' by id.

    They are of the n-gram that ends there, of what precedes its last token, and of the (n+1)-gram.
    """
    text = np.concatenate([train, held_out]).astype(np.int64)
    grams, histories = text, np.zeros(len(text), np.int64)
    for n in range(1, order + 1):
        longer, suffixes = _extend_ngrams(grams, text, size, n)
        yield n, (grams, histories, longer, suffixes)
        grams, histories = longer, np.concatenate([[0], grams[:-1]])  # the id before each place


def _inside(grams: Ids, preceding: Ids | None, n: int) -> Ids:
    """Return the training text's n-grams that lie within one piece of it."""
    return grams[n - 1 :] if preceding is None else grams[preceding >= n - 1]


def _by_id(ids: Ids, values: Ids) -> Ids:
    """Return the value of each id, (max id + 1,), from the ids and values at each place."""
    table = np.zeros(int(ids.max()) + 1, np.int64)
    table[ids] = values
    return table


def _context_counts(longer: Ids, suffixes: Ids, kinds: int) -> Ids:
    """Return in how many contexts each n-gram occurs, from the (n+1)-grams of the training text."""
    occurs = np.zeros(len(suffixes), bool)
    occurs[longer] = True
    return np.bincount(suffixes[occurs], minlength=kinds)


def _extend_ngrams(grams: Ids, text: Ids, size: int, n: int) -> tuple[Ids, Ids]:
    """Return ids (N,) of the (n+1)-grams that end at each place, and per id that of its suffix.

    The first n ids are void. A suffix is the last n tokens.
    """
    keys = np.full(len(text), -1, np.int64)
    keys[n:] = grams[n - 1 : -1] * size + text[n:]
    ids, kinds = pd.factorize(keys)
    suffixes = np.empty(len(kinds), np.int64)
    suffixes[ids] = grams  # any of its places will do
    return ids, suffixes
