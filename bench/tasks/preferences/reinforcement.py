"""Improve a policy on a reward by its own responses: RLOO, and PPO's clipped updates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bench.config.preference_schema import PolicyConfig
from bench.model import LanguageModel
from bench.tasks.preferences import losses
from bench.tasks.preferences.policies import PolicyDiverged, Trainer, Update
from bench.tasks.preferences.rollouts import (
    Responses,
    log_probabilities,
    response_logits,
    token_log_probabilities,
    write,
)
from bench.training import torch_generator

LARGEST_KL = 200.0  # nats per response: beyond it the policy has left what the reward knows


@dataclass(frozen=True)
class Reinforcement:
    """What a policy is improved on by its own responses."""

    reference: LanguageModel
    reward: Callable[[Responses], Tensor]  # (B,) log-odds
    prompts: Callable[[int], Tensor]  # (prompts, P) of an update
    room: int  # tokens of a response
    separator: int
    beta: float
    seed: int
    shape: Callable[[Responses], Tensor] | None = None  # (B, R) rewards of each token


class Rollout(NamedTuple):
    """The responses of one update, scored: B responses of T tokens."""

    responses: Responses
    sampled: Tensor  # (B, T): log-probabilities under the policy that drew them
    returns: Tensor  # (B, 1) where a response is one action, else (B, T)
    means: dict[str, float]  # proxy, kl, k1 and length, over responses


def reinforce(
    trainer: Trainer, setting: Reinforcement, options: PolicyConfig, epochs: int = 1
) -> Iterator[Update]:
    """Train to the last update, one Update each; RLOO with one epoch, with more of them PPO.

    The KL to the reference is part of the reward and is not differentiated. Without shaping a
    response is one action; with it, each token is credited with the rewards from it on.
    Raise PolicyDiverged.
    """
    clip = options.clip if epochs > 1 else None
    while trainer.done < trainer.updates:
        rollout = draw_rollout(trainer.policy, setting, options.each, trainer.done)
        groups = rollout.returns.unflatten(0, (-1, options.each))
        if not (groups.isfinite().all() and rollout.means["kl"] < LARGEST_KL):
            raise PolicyDiverged(trainer.done + 1, rollout.means["kl"])
        advantages = losses.leave_one_out(groups).flatten(0, 1)
        for _ in range(epochs):
            loss = policy_loss(trainer.policy, rollout, advantages, clip)
            norm = trainer.step(loss)
        trainer.done += 1
        idle = losses.idle_groups(groups[..., 0])
        yield Update(trainer.done, float(loss.detach()), norm, **rollout.means, idle_groups=idle)


@torch.no_grad()
def draw_rollout(policy: LanguageModel, setting: Reinforcement, each: int, number: int) -> Rollout:
    """Return the rollout of an update: a function of the policy and (seed, update)."""
    prompts = setting.prompts(number).repeat_interleave(each, dim=0)
    generator = torch_generator(setting.seed, 2, number)
    responses = write(policy, prompts, setting.room, setting.separator, generator)
    logits, reference = (response_logits(m, responses) for m in (policy, setting.reference))
    sampled = token_log_probabilities(logits, responses)
    log_ratio = sampled - token_log_probabilities(reference, responses)
    proxy = setting.reward(responses)
    rewards = losses.terminal_rewards(proxy, responses.response_mask) - setting.beta * log_ratio
    means = {
        "proxy": proxy,
        "kl": (losses.exact_kl(logits, reference) * responses.response_mask).sum(dim=1),
        "k1": log_ratio.sum(dim=1),
        "length": responses.lengths,
    }
    averages = {name: float(value.mean()) for name, value in means.items()}
    return Rollout(responses, sampled, _returns(rewards, responses, setting), averages)


def _returns(rewards: Tensor, responses: Responses, setting: Reinforcement) -> Tensor:
    """Return what each action is credited with, before the baseline."""
    if setting.shape is None:
        return rewards.sum(dim=1, keepdim=True)
    return losses.to_go(rewards + setting.shape(responses))


def policy_loss(
    policy: LanguageModel, rollout: Rollout, advantages: Tensor, clip: float | None
) -> Tensor:
    """Return the policy gradient's loss, clipped where `clip` is given."""
    now = log_probabilities(policy, rollout.responses)
    if clip is None:
        return losses.policy_gradient(now, advantages)
    return losses.clipped_policy_gradient(now, rollout.sampled, advantages, clip)
