"""Hold what a stage learns from people: their pairs and labels as tokens, without a gold."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.config.schema import Run
from bench.data import Corpus
from bench.tasks.preferences.people import (
    PersonLabel,
    read_labels,
    training_labels,
)
from bench.tasks.preferences.reward_model import LabelledPairs
from bench.tasks.preferences.rollouts import Responses
from bench.tasks.preferences.worlds import World


@dataclass(frozen=True)
class EncodedLabel:
    """A person's label as tokens that fit the context."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    cut: bool  # whether anything was left out


class PeoplesWorld(World):
    """Pairs that people labelled: a tenth of the prompts is held out, and nothing is gold."""

    def __init__(self, run: Run, corpus: Corpus) -> None:
        super().__init__(run, corpus)
        labels = read_labels(Path(run.preference.path))
        path, wanted = run.preference.path, run.preference.labels
        trained, held = training_labels(labels, wanted, path)
        draw = np.random.default_rng([run.seed, 9])
        self.trained = [trained[place] for place in draw.permutation(len(trained))]
        self.held = held
        self.update_prompts = self._prompts(trained)
        self.look_prompts = self._prompts(held)[: run.preference.look_prompts]

    def _prompts(self, labels: Sequence[PersonLabel]) -> Tensor:
        """Return the ends of the prompts that are long enough, (N, P)."""
        length = self.options.prompt
        texts = dict.fromkeys(label.prompt for label in labels)
        rows = [self.vocabulary.encode(text)[-length:] for text in texts]
        kept = [row for row in rows if len(row) == length]
        return torch.from_numpy(np.array(kept, dtype=np.int64).reshape(-1, length))

    def encode(self, label: PersonLabel) -> EncodedLabel:
        """Return a label as tokens: responses keep their beginning, then prompts their end."""
        context, separator = self.run.size.context, self.vocabulary.separator
        prompt, *sides = map(self.vocabulary.encode, (label.prompt, label.chosen, label.rejected))
        prompt = np.concatenate([[separator], prompt])
        ended = [np.concatenate([side, [separator]]) for side in sides]
        room = context - 1
        kept = [side[:room] for side in ended]
        left = context - max(map(len, kept))
        cut = len(prompt) > left or any(map(np.not_equal, map(len, kept), map(len, ended)))
        return EncodedLabel(prompt[-left:], kept[0], kept[1], cut)

    @cached_property
    def cut_pairs(self) -> int:
        """Count the pairs that do not fit the context."""
        return sum(self.encode(label).cut for label in [*self.trained, *self.held])

    def _pairs(self, labels: Sequence[PersonLabel]) -> LabelledPairs:
        """Return labels as pairs: the chosen response is the first, as rewards know no order."""
        encoded = [self.encode(label) for label in labels]
        width = max(len(one.prompt) + max(len(one.chosen), len(one.rejected)) for one in encoded)
        chosen = self._padded([(one.prompt, one.chosen) for one in encoded], width)
        rejected = self._padded([(one.prompt, one.rejected) for one in encoded], width)
        return LabelledPairs(chosen, rejected, torch.ones(len(labels)))

    def _padded(self, texts: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> Responses:
        tokens = np.full((len(texts), width), self.vocabulary.separator, np.int64)
        mask = np.zeros((len(texts), width), np.float32)
        for row, (prompt, response) in enumerate(texts):
            end = len(prompt) + len(response)
            tokens[row, :end] = np.concatenate([prompt, response])
            mask[row, len(prompt) : end] = 1
        return Responses(torch.from_numpy(tokens), torch.from_numpy(mask))

    def training_pairs(self, labels: int, flip: float) -> LabelledPairs:
        """Return the first `labels` pairs of the run's seed; people's labels are not reversed."""
        return self._pairs(self.trained[:labels])

    @cached_property
    def held_out(self) -> LabelledPairs:
        """Return the labels of a tenth of the prompts."""
        return self._pairs(self.held)

    def label_rows(self) -> list[dict[str, Any]]:
        """Return the labels that are trained on, in their order."""
        count = self.options.labels or len(self.trained)
        return [label._asdict() for label in self.trained[:count]]
