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
    is_first = np.diff(read, prepend=-2) > 1  # of a piece
    starts = read[is_first] * run.size.context
    ends = (read[np.append(is_first[1:], True)] + 1) * run.size.context + 1
    places = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
    preceding = np.concatenate([np.arange(b - a) for a, b in zip(starts, ends, strict=True)])
    share = 100 * len(places) / len(tokens)
    note = f"counted on the {share:.0f} % of the training part that seed {run.seed} read"
    digest = blocks.digest(run.train.steps)
    return TrainingText(np.asarray(tokens[places]), preceding, digest, note)
