"""Laws whose windows are sequences of their own: each stands behind a separator and ends with the next one."""

from abc import abstractmethod

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import SyntheticConfig
from bench.data.synthetic.base import (
    Numbers,
    OraclePrediction,
    Rows,
    Sample,
    SyntheticSource,
    predict_from,
    sample_symbols,
)

SEQUENCES_AT_ONCE = 4096  # sequences drawn together


class SequenceSource(SyntheticSource):
    """Sequences of `length` − 1 symbols and a separator, so that a window of `length` targets is one sequence."""

    windows = True

    def __init__(self, options: SyntheticConfig, symbols: int):
        self.symbols, self.length = symbols, options.length

    def draw(self, count: int, random: np.random.Generator) -> Sample:
        left = max(1, count // self.length)
        pieces = []
        while left > 0:
            pieces.append(self.sequences(min(left, SEQUENCES_AT_ONCE), random))
            left -= SEQUENCES_AT_ONCE
        drawn = np.concatenate(pieces)  # (N, length - 1)
        stream = np.full((len(drawn), self.length), self.symbols)
        stream[:, :-1] = drawn
        counted = np.zeros(
            stream.shape, bool
        )  # the separator is no target: where it stands is no question
        counted[:, :-1] = self.counted(drawn)
        return Sample(np.append(self.symbols, stream), np.append(False, counted))

    @abstractmethod
    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        """(count, length - 1) symbols."""

    def counted(self, sequences: np.ndarray) -> np.ndarray:
        """(N, length - 1) bool: what is asked."""
        return np.ones(sequences.shape, bool)

    def oracle(self, rows: Rows) -> OraclePrediction:
        """As every law; a separator costs nothing and begins a new sequence."""
        rows = rows.astype(np.int64)
        ends = rows == self.symbols
        if ends[:, 1:-1].any():  # several sequences a row: each alone
            return self._alone(rows, ends)
        opens = bool(ends[:, 0].all())
        inside = rows[:, opens : rows.shape[1] - bool(ends[:, -1].all() and rows.shape[1] > 1)]
        found = self.inside(inside)
        nats, likeliest = np.zeros(rows.shape), np.full(rows.shape, self.symbols)
        nats[:, opens : opens + inside.shape[1]] = found.nats
        likeliest[:, opens : opens + inside.shape[1]] = found.most_likely
        return OraclePrediction(nats, likeliest)

    def _alone(self, rows: Rows, ends: np.ndarray) -> OraclePrediction:
        nats, likeliest = np.zeros(rows.shape), np.full(rows.shape, self.symbols)
        for row, its in enumerate(ends):
            for piece in np.split(np.arange(rows.shape[1]), np.flatnonzero(its)):
                if len(piece):
                    found = self.oracle(rows[row, piece][None])
                    nats[row, piece], likeliest[row, piece] = found.nats[0], found.most_likely[0]
        return OraclePrediction(nats, likeliest)

    @abstractmethod
    def inside(self, rows: Rows) -> OraclePrediction:
        """The oracle of rows that begin with a sequence's first symbol and hold no separator."""


class InContextMarkov(SequenceSource):
    """A chain of order 1 whose rows are drawn afresh for each sequence: what can be known is learned while reading."""

    def __init__(self, options: SyntheticConfig):
        super().__init__(options, options.symbols)
        self.concentration = options.concentration

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        gammas = (
            random.standard_gamma(self.concentration, (count, self.symbols, self.symbols)) + 1e-300
        )
        cumulative = (gammas / gammas.sum(axis=2, keepdims=True)).cumsum(axis=2)
        found, each = np.empty((count, self.length - 1), np.int64), np.arange(count)
        found[:, 0] = random.integers(self.symbols, size=count)
        for place in range(1, self.length - 1):
            found[:, place] = sample_symbols(cumulative[each, found[:, place - 1]], random)
        return found

    def inside(self, rows: Rows) -> OraclePrediction:
        """(n_ij + a) / (n_i + a·V): the mean of the law of the rows, given what was seen."""
        counts = np.full((len(rows), self.symbols, self.symbols), self.concentration)
        probabilities = np.full((*rows.shape, self.symbols), 1 / self.symbols)
        each = np.arange(len(rows))
        for place in range(1, rows.shape[1]):
            before = rows[:, place - 1]
            row = counts[each, before]  # (B, V)
            probabilities[:, place] = row / row.sum(axis=1, keepdims=True)
            counts[each, before, rows[:, place]] += 1
        return predict_from(probabilities, rows)


class Recall(SequenceSource):
    """Associative recall with many questions (MQAR; Arora et al. 2023, arXiv:2312.04927): keys with values, then keys again.

    The first half of the symbols are keys, the second values. Only the values behind a key's later mentions count.
    """

    def __init__(self, options: SyntheticConfig):
        super().__init__(options, options.symbols)
        self.pairs = options.pairs or max(2, options.length // 16)
        self.keys = options.symbols // 2
        if options.symbols % 2 or self.pairs > self.keys:
            said = f"data.synthetic.symbols={options.symbols} with {self.pairs} pairs"
            raise UserError(
                f"{said}: recall needs an even number of symbols, half of them keys, and no more pairs than keys"
            )
        if 2 * self.pairs + 2 > options.length - 1:
            raise UserError(
                f"{self.pairs} pairs and a question need a size.context of {2 * self.pairs + 3}, not {options.length}"
            )

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        keys = random.random((count, self.keys)).argsort(axis=1)[
            :, : self.pairs
        ]  # (B, P) all different
        values = random.integers(self.keys, self.symbols, (count, self.pairs))
        asked = random.integers(self.pairs, size=(count, self.length // 2 - self.pairs))
        shown = np.stack([keys, values], axis=2)  # (B, P, 2)
        again = np.take_along_axis(shown, asked[..., None], axis=1)
        stream = np.concatenate([shown, again], axis=1).reshape(count, -1)  # (B, 2·(length // 2))
        return np.asarray(stream[:, : self.length - 1])

    def counted(self, sequences: np.ndarray) -> np.ndarray:
        places = np.arange(sequences.shape[1])
        return np.broadcast_to((places % 2 == 1) & (places >= 2 * self.pairs), sequences.shape)

    def inside(self, rows: Rows) -> OraclePrediction:
        """Answers are certain; what does not count is given as certain too."""
        return OraclePrediction(np.zeros(rows.shape), rows)


class Parity(SequenceSource):
    """Bits, and now and then the question whether the ones so far are odd; only the answers count.

    An answer stays in the text: it and the bits since then, some six, are enough for the next one.
    """

    QUESTION, EVEN = 2, 3  # and 4: odd
    GAP = 6  # bits between two questions, on average

    def __init__(self, options: SyntheticConfig):
        super().__init__(options, 5)
        if options.length < 4:
            raise UserError(f"parity needs a size.context of 4 at least, not {options.length}")

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        found = np.empty((count, self.length - 1), np.int64)
        odd, asked = (
            np.zeros(count, np.int64),
            np.zeros(count, bool),
        )  # asked: a question stands before this place
        for place in range(self.length - 1):
            asks = ~asked & (random.random(count) < 1 / (self.GAP + 1)) & (place > 0)
            asks |= ~asked & (place == self.length - 3)  # at least one question
            bits = random.integers(2, size=count)
            found[:, place] = np.where(asked, self.EVEN + odd, np.where(asks, self.QUESTION, bits))
            odd = np.where(asked | asks, odd, odd ^ bits)
            asked = asks
        return found

    def counted(self, sequences: np.ndarray) -> np.ndarray:
        return sequences >= self.EVEN

    def inside(self, rows: Rows) -> OraclePrediction:
        """Answers are certain; what does not count is given as certain too."""
        return OraclePrediction(np.zeros(rows.shape), rows)


class Dyck(SequenceSource):
    """Brackets of several kinds, nested up to a depth, without an end: what may close is what stands open last.

    The second half of the symbols closes what the first half opens. Inside, half of the symbols open and half close.
    """

    OPENS = 0.5

    def __init__(self, options: SyntheticConfig):
        super().__init__(options, options.symbols)
        self.kinds, self.depth = options.symbols // 2, options.depth
        if options.symbols % 2:
            raise UserError(
                f"data.synthetic.symbols={options.symbols}: brackets come in pairs, so take an even number"
            )

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        found = np.empty((count, self.length - 1), np.int64)
        stack, depth, each = self._empty(count)
        for place in range(self.length - 1):
            cumulative = self._next(stack, depth, each).cumsum(axis=1)
            found[:, place] = sample_symbols(cumulative, random)
            depth = self._push(stack, depth, each, found[:, place])
        return found

    def inside(self, rows: Rows) -> OraclePrediction:
        probabilities = np.empty((*rows.shape, self.symbols))
        stack, depth, each = self._empty(len(rows))
        for place in range(rows.shape[1]):
            probabilities[:, place] = self._next(stack, depth, each)
            depth = self._push(stack, depth, each, rows[:, place])
        return predict_from(probabilities, rows)

    def _empty(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.zeros((count, self.depth + 1), np.int64),
            np.zeros(count, np.int64),
            np.arange(count),
        )

    def _next(self, stack: np.ndarray, depth: np.ndarray, each: np.ndarray) -> Numbers:
        """(B, V): what may come, given what stands open."""
        opens = np.where(depth == 0, 1.0, np.where(depth == self.depth, 0.0, self.OPENS))
        probabilities = np.zeros((len(each), self.symbols))
        probabilities[:, : self.kinds] = opens[:, None] / self.kinds
        probabilities[each, self.kinds + stack[each, depth]] += 1 - opens
        return probabilities

    def _push(
        self, stack: np.ndarray, depth: np.ndarray, each: np.ndarray, symbols: np.ndarray
    ) -> np.ndarray:
        """Note the symbols on the stacks; returns the new depths."""
        opening = symbols < self.kinds
        after = np.asarray(np.where(opening, depth + 1, depth - 1).clip(0, self.depth))
        stack[each[opening], after[opening]] = symbols[opening]
        return after
