"""Order examples into batches as a pure function of (seed, step). Imports no torch."""

import hashlib
from typing import NamedTuple

import numpy as np

from bench.tasks.finetuning.encoding import EncodedPart

GROUP_BATCHES = 16  # batches whose examples are sorted by length together: less padding


class ExampleBlock(NamedTuple):
    """B examples, padded on the right with zeros to T tokens."""

    tokens: np.ndarray  # (B, T) int64: input, then answer
    lengths: np.ndarray  # (B,) int64: tokens of each row without padding
    inputs: np.ndarray  # (B,) int64: those of the input
    labels: np.ndarray  # (B,) int64


def pad_examples(part: EncodedPart, chosen: np.ndarray) -> ExampleBlock:
    """Return some examples of a part as a block."""
    inputs = [part.rows[index] for index in chosen]
    rows = inputs
    if part.answers:
        answers = (part.answers[index] for index in chosen)
        rows = [np.concatenate(pair) for pair in zip(inputs, answers, strict=True)]
    lengths = np.array([len(row) for row in rows])
    tokens = np.zeros((len(rows), lengths.max()), np.int64)
    for row, values in zip(tokens, rows, strict=True):
        row[: len(values)] = values
    return ExampleBlock(
        tokens, lengths, np.array([len(row) for row in inputs]), part.labels[chosen]
    )


class ExampleBatches:
    """Batches of examples, each example once per epoch; their order needs no state.

    The stream of epochs is cut into groups of GROUP_BATCHES batches; within a group the examples
    are sorted by bytes, and the batches shuffled. Tokens decide nothing, so that the order is the
    same for every tokenizer and architecture.
    """

    def __init__(self, part: EncodedPart, batch: int, seed: int) -> None:
        self.part, self.batch, self.seed = part, batch, seed
        self.cached: tuple[int, np.ndarray] = (-1, np.empty((0, 0), np.int64))
        self.counts: list[int] = []  # tokens of the first steps

    def _stream(self, first: int, count: int) -> np.ndarray:
        """Return examples `first` … `first + count` of the endless stream of epochs."""
        size = len(self.part)
        epochs = range(first // size, (first + count - 1) // size + 1)
        orders = [np.random.default_rng([self.seed, epoch]).permutation(size) for epoch in epochs]
        start = first - epochs[0] * size
        return np.concatenate(orders)[start : start + count]

    def indices(self, step: int) -> np.ndarray:
        """Return the examples of one step, (batch,)."""
        group, place = divmod(step, GROUP_BATCHES)
        if self.cached[0] != group:
            count = GROUP_BATCHES * self.batch
            chosen = self._stream(group * count, count)
            ordered = chosen[np.argsort(self.part.sizes[chosen], kind="stable")]
            shuffled = np.random.default_rng([self.seed, group, 1]).permutation(GROUP_BATCHES)
            self.cached = (group, ordered.reshape(GROUP_BATCHES, self.batch)[shuffled])
        return self.cached[1][place]

    def at(self, step: int) -> ExampleBlock:
        """Return the block of one step, counted from 0."""
        return pad_examples(self.part, self.indices(step))

    def tokens_seen(self, steps: int) -> int:
        """Return the tokens of the first `steps` steps without padding."""
        for step in range(len(self.counts), steps):
            answers = self.part.answers
            tokens = sum(
                len(self.part.rows[index]) + (len(answers[index]) if answers else 0)
                for index in self.indices(step)
            )
            self.counts.append(tokens)
        return sum(self.counts[:steps])

    def digest(self, steps: int) -> str:
        """Return sixteen hexadecimal digits of the order that the first `steps` steps use."""
        digest = hashlib.sha256()
        for step in range(steps):
            digest.update(self.indices(step).astype("<i8").tobytes())
        return digest.hexdigest()[:16]
