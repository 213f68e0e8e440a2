"""The training text that baselines are counted on: all of it, or the blocks that a run read."""

from typing import NamedTuple

import numpy as np

from bench.config import Run
from bench.data import Corpus
from bench.data.blocks import Blocks


class TrainingText(NamedTuple):
    """Tokens of the training part, in their order."""

    tokens: np.ndarray  # (N,)
    preceding: np.ndarray  # (N,): tokens before each one in its piece of successive blocks
    order_digest: str = ""  # of the blocks of the run that read them; empty: the whole part
    note: str = ""  # what they are

    def last(self, count: int) -> "TrainingText":
        """Return the last tokens."""
        tokens, preceding = self.tokens[-count:], self.preceding[-count:]
        return self._replace(tokens=tokens, preceding=np.minimum(preceding, np.arange(len(tokens))))


def whole_text(corpus: Corpus) -> TrainingText:
    """Return the whole training part."""
    tokens = np.asarray(corpus.parts["train"].tokens)
    return TrainingText(tokens, np.arange(len(tokens)))


def text_read_by(run: Run, corpus: Corpus) -> TrainingText | None:
    """Return the tokens that a run read, each once; None where it read the whole training part."""
    tokens = corpus.parts["train"].tokens
    blocks = Blocks(tokens, run.size.context, run.train.batch, run.seed)
    if run.train.steps * run.train.batch >= blocks.per_epoch:
        return None
    read = np.sort(blocks.epoch(0)[: run.train.steps * run.train.batch])
    pieces = _pieces(read, run.size.context)
    places = np.concatenate([np.arange(a, b) for a, b in pieces])
    preceding = np.concatenate([np.arange(b - a) for a, b in pieces])
    share = 100 * len(places) / len(tokens)
    note = f"counted on the {share:.0f} % of the training part that seed {run.seed} read"
    digest = blocks.digest(run.train.steps)
    return TrainingText(np.asarray(tokens[places]), preceding, digest, note)


def _pieces(read: np.ndarray, context: int) -> list[tuple[int, int]]:
    """Return the first token and the end of each run of successive blocks, of sorted numbers."""
    breaks = np.flatnonzero(np.diff(read) > 1)
    firsts, lasts = read[np.append(0, breaks + 1)], read[np.append(breaks, len(read) - 1)]
    pairs = zip(firsts * context, (lasts + 1) * context + 1, strict=True)
    return [(int(first), int(end)) for first, end in pairs]
