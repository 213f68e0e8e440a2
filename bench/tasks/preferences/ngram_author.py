"""Write responses by an interpolated n-gram of the training part: one author for every model.

Witten and Bell 1991: after a context that occurred c times with t different successors, the longest
one counts with weight c / (c + t). An occurrence of the context is drawn, and its successor copied.
"""

import math

import numpy as np

from bench.data import Vocabulary

ORDER = 6
LARGEST_TEXT = 2_000_000  # tokens that are counted at most, the first of the training part


class ContextTable:
    """The successors of every context of some length, sorted: N occurrences."""

    def __init__(self, tokens: np.ndarray, size: int, length: int) -> None:
        keys = np.zeros(len(tokens) - length, np.int64)  # of context and successor
        for place in range(length + 1):
            keys = keys * size + tokens[place : len(tokens) - length + place]
        self.size, self.length, self.keys = size, length, np.sort(keys)
        distinct = np.concatenate([[False], self.keys[1:] != self.keys[:-1]])
        self.distinct = distinct.cumsum()

    def draw(self, texts: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return a successor of each text (B, T) that this order decides, else -1: (B,)."""
        context = _context_keys(texts[:, texts.shape[1] - self.length :], self.size)
        low, high = (np.searchsorted(self.keys, (context + end) * self.size) for end in (0, 1))
        count, last = high - low, len(self.keys) - 1
        first = np.minimum(low, last)
        kinds = self.distinct[np.maximum(high - 1, first)] - self.distinct[first] + 1
        decides = random.random(len(texts)) * (count + kinds) < count
        place = first + (random.random(len(texts)) * count).astype(np.int64)
        return np.where(decides, self.keys[np.minimum(place, last)] % self.size, -1)


def _context_keys(tokens: np.ndarray, size: int) -> np.ndarray:
    """Return the number of each row of tokens (B, N) in base `size`, (B,)."""
    keys = np.zeros(len(tokens), np.int64)
    for column in tokens.T:
        keys = keys * size + column
    return keys


class NgramAuthor:
    """An n-gram of the highest order up to ORDER whose contexts fit 63 bits."""

    def __init__(self, tokens: np.ndarray, vocabulary: Vocabulary) -> None:
        text = np.asarray(tokens[:LARGEST_TEXT]).astype(np.int64)
        self.vocabulary = vocabulary
        order = min(ORDER, int(63 / math.log2(vocabulary.size + 1)), len(text) - 1)
        lengths = range(order - 1, -1, -1)
        self.tables = [ContextTable(text, vocabulary.size, length) for length in lengths]

    def write(self, prompts: np.ndarray, room: int, random: np.random.Generator) -> np.ndarray:
        """Return the tokens after prompts (B, P), (B, room): separators after the first one."""
        text = np.concatenate([prompts, np.zeros((len(prompts), room), np.int64)], axis=1)
        for place in range(prompts.shape[1], text.shape[1]):
            tokens = np.full(len(text), -1, np.int64)
            for table in self.tables:
                if table.length <= place:
                    tokens = np.where(tokens < 0, table.draw(text[:, :place], random), tokens)
            uniform = random.integers(self.vocabulary.size, size=len(text))
            text[:, place] = np.where(tokens < 0, uniform, tokens)
        return text[:, prompts.shape[1] :]
