"""Improve a policy on labelled pairs alone: direct preference optimization (DPO)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.model import LanguageModel
from bench.tasks.preferences import losses
from bench.tasks.preferences.policies import PolicyDiverged, Trainer, Update
from bench.tasks.preferences.reward_model import LabelledPairs
from bench.tasks.preferences.rollouts import Responses, log_probabilities
from bench.training import torch_generator

BATCH = 32  # pairs per update


def updates_per_epoch(pairs: int) -> int:
    """Return the updates of one pass over so many pairs."""
    return -(-pairs // BATCH)


def prefer(
    trainer: Trainer,
    reference: LanguageModel,
    pairs: LabelledPairs,
    beta: float,
    flip: float,
    seed: int,
) -> Iterator[Update]:
    """Train by DPO to the last update, one Update each. Raise PolicyDiverged.

    `flip`: the share of labels that the loss takes as reversed. The pairs of an update are a
    function of (seed, update).
    """
    while trainer.done < trainer.updates:
        batch = _batch(pairs, trainer.done, seed)
        first, second = (
            log_ratio(trainer.policy, reference, side) for side in (batch.first, batch.second)
        )
        loss = losses.dpo(first, second, batch.labels, beta, flip).mean()
        if not torch.isfinite(loss):
            raise PolicyDiverged(trainer.done + 1, float("nan"))
        norm = trainer.step(loss)
        trainer.done += 1
        chosen, rejected = (
            _mean_of(first.detach(), second.detach(), label)
            for label in (batch.labels, 1 - batch.labels)
        )
        yield Update(trainer.done, float(loss.detach()), norm, chosen=chosen, rejected=rejected)


def _batch(pairs: LabelledPairs, number: int, seed: int) -> LabelledPairs:
    epoch, place = divmod(number, updates_per_epoch(len(pairs)))
    order = torch.randperm(len(pairs), generator=torch_generator(seed, 3, epoch))
    return pairs.rows(order.split(BATCH)[place])


def _mean_of(first: Tensor, second: Tensor, label: Tensor) -> float:
    return float((label * first + (1 - label) * second).mean())


def log_ratio(policy: LanguageModel, reference: LanguageModel, side: Responses) -> Tensor:
    """Return log-probabilities of responses under the policy less the reference's, (B,)."""
    with torch.no_grad():
        under_reference = log_probabilities(reference, side).sum(dim=1)
    return log_probabilities(policy, side).sum(dim=1) - under_reference
