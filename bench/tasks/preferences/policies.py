"""Hold a policy in training, and what each of its updates saw, whatever the method."""

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.model import LanguageModel
from bench.tasks.preferences.reward_model import adam, update, warm_up


class Update(NamedTuple):
    """What one update of a policy saw, as means over its responses."""

    update: int  # updates done
    loss: float
    gradient: float  # norm before clipping
    proxy: float | None = None  # reward in log-odds
    kl: float | None = None  # nats per response, by the exact sum over the vocabulary
    k1: float | None = None  # the same by the sampled log-probabilities
    length: float | None = None  # tokens
    idle_groups: int | None = None  # groups of responses with equal returns: no gradient
    chosen: float | None = None  # DPO: log-ratio to the reference of the preferred responses
    rejected: float | None = None  # and of the others


class PolicyDiverged(Exception):
    """The policy's loss is not finite, or its KL beyond every use."""

    def __init__(self, update: int, kl: float) -> None:
        super().__init__(
            f"diverged at update {update}: KL {kl:.0f} nats; "
            "smaller preference.policy.learning_rate"
        )


@dataclass
class Trainer:
    """A policy in training; its state is all that a resumed training needs."""

    policy: LanguageModel
    optimizer: torch.optim.AdamW
    rate: float  # the largest learning rate
    updates: int  # in all
    done: int = 0

    @classmethod
    def of(cls, start: LanguageModel, rate: float, updates: int) -> "Trainer":
        """Return the start of a training, as a copy of a model."""
        policy = copy.deepcopy(start).eval()
        return cls(policy, adam(policy.parameters()), rate, updates)

    def step(self, loss: Tensor) -> float:
        """Do one optimizer step of the current update; return the gradient norm."""
        decay = 1 - self.done / self.updates
        rate = self.rate * warm_up(self.done, self.updates) * decay
        return update(self.policy, self.optimizer, loss, rate)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        parts = {"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**parts, "done": self.done}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of another trainer."""
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]
