"""Order the training sequences as a pure function of (seed, step), and cut windows for scoring."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.config.errors import UserError
from bench.data.corpus import Part, check_context

if TYPE_CHECKING:
    import pandas as pd

VALIDATION_BLOCKS = 64  # of the validation part, scored now and then during training
EVAL_BATCH = 64  # windows that are scored at once
TOKENS_PER_CHUNK = 1 << 22  # read at once, so that a part of any length takes little memory


class TokenBlock(NamedTuple):
    """Rows of tokens, and which of them are targets."""

    tokens: np.ndarray  # (N, T + 1) int64
    loss_mask: np.ndarray | None = None  # (N, T + 1) bool; None: all of them

    def rows(self, chosen: slice) -> "TokenBlock":
        """Return some of the rows."""
        mask = None if self.loss_mask is None else self.loss_mask[chosen]
        return TokenBlock(self.tokens[chosen], mask)


class Blocks:
    """Training sequences of context + 1 tokens, `context` apart, each once per epoch.

    Their order needs no state. Raise UserError where the text does not fill one batch.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        context: int,
        batch: int,
        seed: int,
        loss_mask: np.ndarray | None = None,
    ) -> None:
        self.tokens, self.context, self.batch, self.seed = tokens, context, batch, seed
        self.loss_mask = loss_mask
        self.per_epoch = (len(tokens) - 1) // context
        check_context(context, "train", len(tokens))
        if self.per_epoch < batch:
            raise UserError(
                f"the training part fills {self.per_epoch} sequences of size.context={context}, "
                f"fewer than train.batch={batch}: give a longer text, or lower one of the two",
                "too-little-text",
            )
        self.cached: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def epoch(self, number: int) -> np.ndarray:
        """Return the order of the blocks in one epoch, (per_epoch,)."""
        if self.cached[0] != number:
            random = np.random.default_rng([self.seed, number])
            self.cached = (number, random.permutation(self.per_epoch))
        return self.cached[1]

    def indices(self, step: int) -> np.ndarray:
        """Return the blocks of one step, (batch,); a batch may span two epochs."""
        epoch, start = divmod(step * self.batch, self.per_epoch)
        chosen = self.epoch(epoch)[start : start + self.batch]
        if len(chosen) < self.batch:
            chosen = np.concatenate([chosen, self.epoch(epoch + 1)[: self.batch - len(chosen)]])
        return chosen

    def at(self, step: int) -> TokenBlock:
        """Return the block of one step, counted from 0, (batch, context + 1)."""
        positions = self.indices(step)[:, None] * self.context + np.arange(self.context + 1)
        return take_block(self.tokens, self.loss_mask, positions)

    def tokens_seen(self, steps: int) -> int:
        """Return the tokens of the first `steps` steps."""
        return steps * self.batch * self.context

    def digest(self, steps: int) -> str:
        """Return sixteen hexadecimal digits of the order that the first `steps` steps use."""
        digest = hashlib.sha256(f"context {self.context}".encode())
        for step in range(steps):
            digest.update(self.indices(step).astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def take_block(
    tokens: np.ndarray, loss_mask: np.ndarray | None, positions: np.ndarray
) -> TokenBlock:
    """Return the tokens at positions (N, T + 1), and their mask."""
    mask = None if loss_mask is None else np.asarray(loss_mask[positions])
    return TokenBlock(np.asarray(tokens[positions]).astype(np.int64), mask)


def spaced_blocks(
    part: Part, context: int, count: int = VALIDATION_BLOCKS
) -> tuple[np.ndarray, int]:
    """Return where up to `count` evenly spaced blocks begin, (N,) int64, and their length."""
    blocks = max(1, (len(part.tokens) - 1) // context)
    length = min(context, len(part.tokens) - 1)
    chosen = np.unique(np.linspace(0, blocks - 1, min(count, blocks)).astype(np.int64))
    return chosen * length, length


@dataclass(frozen=True)
class WindowBatch:
    """A batch of B windows of T = context tokens, padded on the right with zeros."""

    tokens: np.ndarray  # (B, T) int64
    targets: np.ndarray  # (B, T) int64
    lengths: np.ndarray  # (B,) int64: tokens of each row without padding
    # (B, T) int64: token offset of each target in the part; -1 on padding and on targets that an
    # earlier window scored
    positions: np.ndarray


def windows(part: Part, context: int, batch: int, stride: int = 0) -> Iterator[WindowBatch]:
    """Yield windows in which every token of the part but the first is a target exactly once.

    Windows advance by `stride` tokens, 0 meaning the whole context; what an earlier one scored is
    context alone.
    """
    targets = len(part.tokens) - 1
    step = stride or context
    firsts = np.arange(0, max(1, targets - context + step), step)[:, None]  # (windows, 1)
    for starts in np.split(firsts, range(batch, len(firsts), batch)):  # (B, 1)
        places = starts + np.arange(context)  # (B, T) offsets of the inputs
        real = places < targets
        new = (places >= starts + context - step) | (starts == 0)
        inside = np.minimum(places, targets - 1)
        yield WindowBatch(
            tokens=np.where(real, part.tokens[inside], 0).astype(np.int64),
            targets=np.where(real, part.tokens[inside + 1], 0).astype(np.int64),
            lengths=real.sum(1, dtype=np.int64),
            positions=np.where(real & new, places + 1, -1),
        )


def nats_per_unit(
    part: Part, nats: np.ndarray, separator: int
) -> "tuple[pd.DataFrame, float, int]":
    """Sum nats by unit: (document, bytes, tokens, nats); return the separators' nats and count too.

    `nats` (N,) float64 by token offset; the first token is not a target and not read.
    """
    import pandas as pd  # slow to import

    units = len(part.starts)
    tokens, sums, apart = np.zeros(units, np.int64), np.zeros(units), [np.empty(0)]
    for first in range(1, len(part.tokens), TOKENS_PER_CHUNK):
        text = part.tokens[first : first + TOKENS_PER_CHUNK] != separator
        unit = np.searchsorted(part.starts, first + np.flatnonzero(text), side="right") - 1
        tokens += np.bincount(unit, minlength=units)
        cost = nats[first : first + len(text)]
        np.add.at(sums, unit, cost[text])
        apart.append(cost[~text])
    separators = np.concatenate(apart)
    columns = {"document": range(units), "bytes": part.sizes, "tokens": tokens, "nats": sums}
    return pd.DataFrame(columns), float(separators.sum()), len(separators)


def seeded_generator(digest: str, *key: int) -> np.random.Generator:
    """Return a generator seeded by the digest of the data and a few integers."""
    return np.random.default_rng([int(digest, 16), *key])
