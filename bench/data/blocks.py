"""The order of training, a pure function of (seed, epoch, step), and the windows of scoring."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.config.errors import UserError
from bench.data.corpus import Part, too_long_message

if TYPE_CHECKING:
    import pandas as pd


VALIDATION_BLOCKS = 64  # that training looks at now and then
TOKENS_PER_CHUNK = (
    1 << 22
)  # tokens that are looked at together, so that a part of any length takes little room


class Blocks:
    """Training sequences of context + 1 tokens, `context` apart: each once an epoch, in an order that needs no state to be kept.

    A token that is not `counted` as a target stands as its complement, −1 − token. Raises UserError where the text does not fill
    one batch.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        context: int,
        batch: int,
        seed: int,
        counted: np.ndarray | None = None,
    ):
        self.tokens, self.context, self.batch, self.seed, self.counted = (
            tokens,
            context,
            batch,
            seed,
            counted,
        )
        self.per_epoch = (len(tokens) - 1) // context
        if self.per_epoch < 1:
            raise UserError(too_long_message(context, "train", len(tokens)))
        if self.per_epoch < batch:
            known = f"the training part fills {self.per_epoch} sequences of size.context={context}"
            raise UserError(
                f"{known}, fewer than train.batch={batch}: give a longer text, or lower one of the two"
            )
        self.known: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def epoch(self, number: int) -> np.ndarray:
        """(per_epoch,) the blocks of one epoch in their order."""
        if self.known[0] != number:
            self.known = (
                number,
                np.random.default_rng([self.seed, number]).permutation(self.per_epoch),
            )
        return self.known[1]

    def indices(self, step: int) -> np.ndarray:
        """(batch,) the blocks of one step; a batch may run across the border of two epochs."""
        first = step * self.batch
        epoch, at = divmod(first, self.per_epoch)
        chosen = self.epoch(epoch)[at : at + self.batch]
        if len(chosen) < self.batch:
            chosen = np.concatenate([chosen, self.epoch(epoch + 1)[: self.batch - len(chosen)]])
        return chosen

    def at(self, step: int) -> np.ndarray:
        """(batch, context + 1) int64: the tokens of one step, counted from 0."""
        places = self.indices(step)[:, None] * self.context + np.arange(
            self.context + 1
        )  # (batch, context + 1)
        return merge_mask(self.tokens, self.counted, places)

    def digest(self, steps: int) -> str:
        """Sixteen hexadecimal digits of the order that the first `steps` steps really use."""
        digest = hashlib.sha256(f"context {self.context}".encode())
        for step in range(steps):
            digest.update(self.indices(step).astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def merge_mask(
    tokens: np.ndarray, counted: np.ndarray | None, places: np.ndarray | slice
) -> np.ndarray:
    """The tokens at some places as int64; the complement where a token does not count as a target."""
    found = np.asarray(tokens[places]).astype(np.int64)
    return found if counted is None else np.where(counted[places], found, ~found)


def spaced_blocks(
    part: Part, context: int, count: int = VALIDATION_BLOCKS
) -> tuple[np.ndarray, int]:
    """Where up to `count` blocks spread evenly over a part begin, (N,) int64, and their length: always the same."""
    whole = max(1, (len(part.tokens) - 1) // context)
    length = min(context, len(part.tokens) - 1)
    return np.unique(np.linspace(0, whole - 1, min(count, whole)).astype(np.int64)) * length, length


@dataclass(frozen=True)
class WindowBatch:
    """A batch of stretches, padded on the right with zeros."""

    tokens: np.ndarray  # (b, context) int64
    targets: np.ndarray  # (b, context) int64
    lengths: np.ndarray  # (b,) int64: real tokens of each row
    positions: np.ndarray  # (b, context) int64: token offset of each target in the part; -1 on padding, and where it was scored before


def windows(part: Part, context: int, batch: int, stride: int = 0) -> Iterator[WindowBatch]:
    """Scoring, protocol stride(context, stride): every token of the part but the first, a separator, is a target exactly once.

    Windows advance by `stride` tokens, and what an earlier one scored is only read. 0: by the whole context, chunk(context).
    """
    targets, step = len(part.tokens) - 1, stride or context
    count = 1 + max(0, -(-(targets - context) // step))
    for first in range(0, count, batch):
        starts = (
            step * np.arange(first, min(first + batch, count))[:, None]
        )  # (b, 1) offsets of the first inputs
        places = starts + np.arange(context)  # (b, context) offsets of the inputs
        real = places < targets
        new = real & ((places >= starts + context - step) | (starts == 0))
        inside = np.minimum(places, targets - 1)
        yield WindowBatch(
            tokens=np.where(real, part.tokens[inside], 0).astype(np.int64),
            targets=np.where(real, part.tokens[inside + 1], 0).astype(np.int64),
            lengths=real.sum(1).astype(np.int64),
            positions=np.where(new, places + 1, -1),
        )


def nats_per_unit(
    part: Part, nats: np.ndarray, separator: int
) -> "tuple[pd.DataFrame, float, int]":
    """What the tokens cost, by unit: (document, bytes, tokens, nats); then the separators' nats and count, which stand apart.

    `nats` (N,) float64 by token offset; the first, which is no target, is not read.
    """
    import pandas as pd  # late: it takes longer to import than all else here

    units = len(part.starts)
    tokens, inside = np.zeros(units, np.int64), np.zeros(units, np.float64)
    apart: list[np.ndarray] = []
    for first in range(1, len(part.tokens), TOKENS_PER_CHUNK):
        said = np.asarray(part.tokens[first : first + TOKENS_PER_CHUNK]) != separator
        cost = nats[first : first + TOKENS_PER_CHUNK]
        unit = np.searchsorted(part.starts, first + np.flatnonzero(said), side="right") - 1
        tokens += np.bincount(unit, minlength=units)
        np.add.at(inside, unit, cost[said])
        apart.append(cost[~said])
    separators = np.concatenate(apart) if apart else np.empty(0)
    frame = pd.DataFrame(
        {
            "document": np.arange(units),
            "bytes": part.sizes,
            "tokens": tokens,
            "nats": inside,
        }
    )
    return frame, float(separators.sum()), len(separators)
