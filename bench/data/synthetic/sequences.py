"""Draw sequences, one per window: each follows a separator and ends with the next one."""

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

SEQUENCES_AT_ONCE = 4096  # drawn together


class SequenceSource(SyntheticSource):
    """A source of `length` − 1 symbols and a separator; a window of `length` targets is one."""

    windows = True

    def __init__(self, options: SyntheticConfig) -> None:
        self.symbols, self.length = options.symbols, options.length

    def draw(self, count: int, random: np.random.Generator) -> Sample:
        missing, chunks = max(1, count // self.length), []
        while missing > 0:
            chunks.append(self.sequences(min(missing, SEQUENCES_AT_ONCE), random))
            missing -= SEQUENCES_AT_ONCE
        sequences = np.concatenate(chunks)  # (N, length - 1)
        # The separator is not a target: where it comes is fixed.
        tokens = np.pad(sequences, ((0, 0), (0, 1)), constant_values=self.symbols)
        mask = np.pad(self.loss_mask(sequences), ((0, 0), (0, 1)))
        return Sample(np.append(self.symbols, tokens), np.append(False, mask))

    @abstractmethod
    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Draw (count, length - 1) symbols."""

    def loss_mask(self, sequences: np.ndarray) -> np.ndarray:
        """Return which symbols of (N, length - 1) are targets, bool."""
        return np.ones(sequences.shape, bool)

    def oracle(self, rows: Rows) -> OraclePrediction:
        """Predict as every source does; a separator costs nothing and starts a new sequence."""
        rows = rows.astype(np.int64)
        separators = rows == self.symbols
        if separators[:, 1:-1].any():  # several sequences in a row: each alone
            return self._predict_each(rows, separators)
        nats, most_likely = np.zeros(rows.shape), np.full(rows.shape, self.symbols)
        first = int(separators[:, 0].all())
        last = rows.shape[1] - int(separators[:, -1].all() and rows.shape[1] > 1)
        prediction = self.predict(rows[:, first:last])
        nats[:, first:last], most_likely[:, first:last] = prediction
        return OraclePrediction(nats, most_likely)

    def _predict_each(self, rows: Rows, separators: np.ndarray) -> OraclePrediction:
        predicted = []
        for row, of_row in zip(rows, separators, strict=True):
            pieces = [one for one in np.split(row, np.flatnonzero(of_row)) if len(one)]
            each = [self.oracle(piece[None]) for piece in pieces]
            predicted.append([np.concatenate(field, axis=1) for field in zip(*each, strict=True)])
        nats, most_likely = (np.concatenate(f) for f in zip(*predicted, strict=True))
        return OraclePrediction(nats, most_likely)

    @abstractmethod
    def predict(self, rows: Rows) -> OraclePrediction:
        """Predict rows that begin with a sequence's first symbol and hold no separator."""


class InContextMarkov(SequenceSource, name="in_context_markov"):
    """A chain of order 1 with new transitions in each sequence, to be learned while reading."""

    def __init__(self, options: SyntheticConfig) -> None:
        super().__init__(options)
        self.concentration = options.concentration

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        shape = (count, self.symbols, self.symbols)
        gammas = random.standard_gamma(self.concentration, shape) + 1e-300
        cumulative = (gammas / gammas.sum(axis=2, keepdims=True)).cumsum(axis=2)
        symbols, each = np.empty((count, self.length - 1), np.int64), np.arange(count)
        symbols[:, 0] = random.integers(self.symbols, size=count)
        for position in range(1, self.length - 1):
            rows = cumulative[each, symbols[:, position - 1]]
            symbols[:, position] = sample_symbols(rows, random)
        return symbols

    def predict(self, rows: Rows) -> OraclePrediction:
        """Predict (n_ij + a) / (n_i + a·V), the posterior mean of the transitions."""
        counts = np.full((len(rows), self.symbols, self.symbols), self.concentration)
        probabilities = np.full((*rows.shape, self.symbols), 1 / self.symbols)
        each = np.arange(len(rows))
        for position in range(1, rows.shape[1]):
            previous = rows[:, position - 1]
            row = counts[each, previous]  # (B, V)
            probabilities[:, position] = row / row.sum(axis=1, keepdims=True)
            counts[each, previous, rows[:, position]] += 1
        return predict_from(probabilities, rows)


class AnswerSource(SequenceSource):
    """Sequences whose targets are certain answers; what is not a target is given as certain too."""

    def predict(self, rows: Rows) -> OraclePrediction:
        return OraclePrediction(np.zeros(rows.shape), rows)


class Recall(AnswerSource, name="recall"):
    """Multi-query associative recall (Arora et al. 2023, arXiv:2312.04927).

    Keys with their values, then keys again. The first half of the symbols are keys, the second
    values. Only the values after a key's later mentions are targets.
    """

    def __init__(self, options: SyntheticConfig) -> None:
        super().__init__(options)
        self.pairs = options.pairs or max(2, options.length // 16)
        self.keys = options.symbols // 2
        if options.symbols % 2 or self.pairs > self.keys:
            raise UserError(
                f"data.synthetic.symbols={options.symbols} with {self.pairs} pairs: recall needs "
                "an even number of symbols, half of them keys, and no more pairs than keys"
            )
        if 2 * self.pairs + 2 > options.length - 1:
            raise UserError(
                f"{self.pairs} pairs and a question need a size.context of {2 * self.pairs + 3}, "
                f"not {options.length}"
            )

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        keys = random.random((count, self.keys)).argsort(axis=1)[:, : self.pairs]  # all different
        values = random.integers(self.keys, self.symbols, (count, self.pairs))
        queries = random.integers(self.pairs, size=(count, self.length // 2 - self.pairs))
        shown = np.stack([keys, values], axis=2)  # (B, P, 2)
        repeated = np.take_along_axis(shown, queries[..., None], axis=1)
        stream = np.concatenate([shown, repeated], axis=1).reshape(
            count, -1
        )  # (B, 2·(length // 2))
        return np.asarray(stream[:, : self.length - 1])

    def loss_mask(self, sequences: np.ndarray) -> np.ndarray:
        positions = np.arange(sequences.shape[1])
        answers = (positions % 2 == 1) & (positions >= 2 * self.pairs)
        return np.broadcast_to(answers, sequences.shape)


class Parity(AnswerSource, name="parity"):
    """Bits, and now and then a query whether the ones so far are odd; only answers are targets.

    An answer stays in the text: it and the bits since then, about six, suffice for the next one.
    """

    QUERY, EVEN = 2, 3  # and 4: odd
    MEAN_GAP = 6  # bits between two queries

    def __init__(self, options: SyntheticConfig) -> None:
        super().__init__(options)
        self.symbols = 5
        if options.length < 4:
            raise UserError(f"parity needs a size.context of 4 at least, not {options.length}")

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        symbols = np.empty((count, self.length - 1), np.int64)
        odd = np.zeros(count, np.int64)
        answering = np.zeros(count, bool)  # a query precedes this position
        for position in range(self.length - 1):
            query = random.random(count) < 1 / (self.MEAN_GAP + 1)
            query = ~answering & ((query & (position > 0)) | (position == self.length - 3))
            bits = random.integers(2, size=count)
            symbols[:, position] = np.select(
                [answering, query], [self.EVEN + odd, self.QUERY], bits
            )
            odd = np.where(answering | query, odd, odd ^ bits)
            answering = query
        return symbols

    def loss_mask(self, sequences: np.ndarray) -> np.ndarray:
        return sequences >= self.EVEN


class Dyck(SequenceSource, name="dyck"):
    """Nested brackets of several kinds, without an end: only the last open one may close.

    The second half of the symbols closes what the first half opens. Inside, half of the symbols
    open and half close.
    """

    OPEN_SHARE = 0.5

    def __init__(self, options: SyntheticConfig) -> None:
        super().__init__(options)
        self.kinds, self.depth = options.symbols // 2, options.depth
        if options.symbols % 2:
            raise UserError(
                f"data.synthetic.symbols={options.symbols}: brackets come in pairs, so take an "
                "even number"
            )

    def sequences(self, count: int, random: np.random.Generator) -> np.ndarray:
        symbols, brackets = np.empty((count, self.length - 1), np.int64), OpenBrackets(self, count)
        for position in range(self.length - 1):
            cumulative = brackets.next_probabilities().cumsum(axis=1)
            symbols[:, position] = sample_symbols(cumulative, random)
            brackets.push(symbols[:, position])
        return symbols

    def predict(self, rows: Rows) -> OraclePrediction:
        probabilities = np.empty((*rows.shape, self.symbols))
        brackets = OpenBrackets(self, len(rows))
        for position in range(rows.shape[1]):
            probabilities[:, position] = brackets.next_probabilities()
            brackets.push(rows[:, position])
        return predict_from(probabilities, rows)


class OpenBrackets:
    """The stacks of open brackets of B sequences."""

    def __init__(self, source: Dyck, count: int) -> None:
        self.source, self.each = source, np.arange(count)
        self.stack = np.zeros((count, source.depth + 1), np.int64)
        self.depth = np.zeros(count, np.int64)

    def next_probabilities(self) -> Numbers:
        """Return the probability of each symbol, (B, V)."""
        source, depth = self.source, self.depth
        levels = [depth == 0, depth == source.depth]
        opening = np.select(levels, [1.0, 0.0], source.OPEN_SHARE)
        probabilities = np.zeros((len(self.each), source.symbols))
        probabilities[:, : source.kinds] = opening[:, None] / source.kinds
        probabilities[self.each, source.kinds + self.stack[self.each, depth]] += 1 - opening
        return probabilities

    def push(self, symbols: np.ndarray) -> None:
        """Open or close a bracket of each sequence."""
        opens = symbols < self.source.kinds
        self.depth = np.where(opens, self.depth + 1, self.depth - 1).clip(0, self.source.depth)
        self.stack[self.each[opens], self.depth[opens]] = symbols[opens]
