"""Score tokens with a trained model: the nats of targets, checked for leaks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data import Corpus, Part
from bench.data.blocks import EVAL_BATCH
from bench.evaluation.leak_check import LeakCheck, Rescore
from bench.model import LanguageModel
from bench.training import Batch, Objective, TrainSettings, autocast


@dataclass(frozen=True)
class Scorer:
    """A model in evaluation mode, and the corpus and the context that it is scored on."""

    objective: Objective
    corpus: Corpus
    context: int
    settings: TrainSettings

    def __post_init__(self) -> None:
        self.objective.eval()

    @property
    def model(self) -> LanguageModel:
        return self.objective.model

    @property
    def part(self) -> Part:
        """Return the part of the corpus that is reported."""
        return self.corpus.parts[self.corpus.scored]

    @property
    def separator(self) -> int:
        return self.corpus.vocabulary.separator

    def check(self) -> LeakCheck:
        """Return a check of what is scored inside its `with`."""
        return LeakCheck(self.objective, self.settings)

    def tensor(self, values: np.ndarray) -> Tensor:
        """Return an array on the model's device."""
        return torch.from_numpy(values).to(self.settings.device)

    def batch(
        self, tokens: np.ndarray, targets: np.ndarray, lengths: np.ndarray | None = None
    ) -> Batch:
        """Return a batch of which all targets count, on the model's device."""
        unpadded = None if lengths is None else torch.from_numpy(lengths)
        inputs = torch.from_numpy(tokens), torch.from_numpy(targets), torch.ones(targets.shape)
        return Batch(*inputs, unpadded).to(self.settings.device)

    @torch.no_grad()
    def target_nats(
        self, tokens: np.ndarray, targets: np.ndarray, lengths: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the nats of every target, (B, T) float64; rows are padded beyond `lengths`."""
        with autocast(self.settings):
            nats = self.objective.token_nats(self.batch(tokens, targets, lengths))
        return np.asarray(nats.double().cpu().numpy())

    def scoring(self, targets: np.ndarray, lengths: np.ndarray | None = None) -> Rescore:
        """Return the function that scores these targets by `target_nats`, for `LeakCheck`."""

        def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
            unpadded = None if lengths is None else lengths[order]
            return self.target_nats(read, targets[order], unpadded)

        return rescore

    @torch.no_grad()
    def logits_at(self, tokens: np.ndarray, places: np.ndarray) -> Tensor:
        """Return the logits (B, V) at one place (B,) of each row of tokens (B, T)."""
        with autocast(self.settings):
            states, _ = self.model.hidden(self.tensor(tokens))
            return self.model.head(states[torch.arange(len(tokens)), torch.from_numpy(places)])

    def scoring_at(
        self, places: np.ndarray, nats_of: Callable[[Tensor, np.ndarray], Tensor]
    ) -> Rescore:
        """Return the function that scores one place (B,) of each row, for `LeakCheck`.

        `nats_of` turns the logits there, (B, V), and the order of the rows into nats (B, P).
        """

        def rescore(read: np.ndarray, order: np.ndarray) -> np.ndarray:
            nats = nats_of(self.logits_at(read, places[order]), order)
            return np.asarray(nats.double().cpu().numpy())

        return rescore


def eval_batches(rows: np.ndarray) -> list[np.ndarray]:
    """Return some row numbers (N,) in batches of what is scored at once."""
    return np.split(rows, range(EVAL_BATCH, len(rows), EVAL_BATCH))
