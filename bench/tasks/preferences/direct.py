"""Improve a policy on labelled pairs alone: direct preference optimization (DPO)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.model import LanguageModel
from bench.tasks.preferences import losses
from bench.tasks.preferences.policies import PolicyDiverged, Trainer, Update
from bench.tasks.preferences.reward_model import LabelledPairs
from bench.tasks.preferences.rollouts import Responses, log_probabilities
from bench.training import torch_generator

BATCH = 32  # pairs per update


@dataclass(frozen=True)
class DirectPreferences:
    """What a policy is improved on by labelled pairs."""

    reference: LanguageModel
    pairs: LabelledPairs
    beta: float
    flip: float  # share of labels that the loss takes as reversed
    seed: int

    def batch(self, number: int) -> LabelledPairs:
        """Return the pairs of an update: a function of (seed, update)."""
        epoch, place = divmod(number, updates_per_epoch(len(self.pairs)))
        order = torch.randperm(len(self.pairs), generator=torch_generator(self.seed, 3, epoch))
        return self.pairs.rows(order.split(BATCH)[place])


def updates_per_epoch(pairs: int) -> int:
    """Return the updates of one pass over so many pairs."""
    return -(-pairs // BATCH)


def prefer(trainer: Trainer, setting: DirectPreferences) -> Iterator[Update]:
    """Train by DPO to the last update, one Update each. Raise PolicyDiverged."""
    while trainer.done < trainer.updates:
        batch = setting.batch(trainer.done)
        first, second = (
            log_ratio(trainer.policy, setting.reference, side)
            for side in (batch.first, batch.second)
        )
        ratios = losses.Ratios(first, second)
        loss = losses.dpo(ratios, batch.labels, setting.beta, setting.flip).mean()
        if not torch.isfinite(loss):
            raise PolicyDiverged(trainer.done + 1, float("nan"))
        norm = trainer.step(loss)
        trainer.done += 1
        yield _update(trainer.done, ratios, batch.labels, (float(loss.detach()), norm))


def log_ratio(policy: LanguageModel, reference: LanguageModel, side: Responses) -> Tensor:
    """Return log-probabilities of responses under the policy less the reference's, (B,)."""
    with torch.no_grad():
        under_reference = log_probabilities(reference, side).sum(dim=1)
    return log_probabilities(policy, side).sum(dim=1) - under_reference


@torch.no_grad()
def _update(
    number: int, ratios: losses.Ratios, labels: Tensor, trained: tuple[float, float]
) -> Update:
    chosen = labels * ratios.first + (1 - labels) * ratios.second
    rejected = labels * ratios.second + (1 - labels) * ratios.first
    return Update(number, *trained, chosen=float(chosen.mean()), rejected=float(rejected.mean()))
