"""A world that can be enumerated: 3 symbols, 4 steps, 81 responses, a tabular policy."""

from itertools import product

import torch
from torch import Tensor

SYMBOLS, STEPS, BETA = 3, 4, 0.5
RESPONSES = torch.tensor(list(product(range(SYMBOLS), repeat=STEPS)))  # (81, 4)
OFFSETS = torch.tensor([0, 1, 4, 13])  # of the contexts of each length, 40 in all


def contexts(tokens: Tensor) -> Tensor:
    """The context of each token, (B, 4) -> (B, 4)."""
    values, number = [], torch.zeros(len(tokens), dtype=torch.long)
    for step in range(STEPS):
        values.append(OFFSETS[step] + number)
        number = number * SYMBOLS + tokens[:, step]
    return torch.stack(values, dim=1)


CONTEXTS = contexts(RESPONSES)


class World:
    """A reference policy and a reward, and what follows from them exactly."""

    def __init__(self, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.reference = torch.randn(40, SYMBOLS, generator=draw, dtype=torch.float64)
        self.reward = 1.5 * torch.randn(len(RESPONSES), generator=draw, dtype=torch.float64)
        self.log_reference = sequence_log_probabilities(self.reference)
        self.log_optimum = (self.log_reference + self.reward / BETA).log_softmax(0)
        self.log_partition = torch.logsumexp(self.log_reference + self.reward / BETA, 0)

    def objective(self, log_policy: Tensor, reward: Tensor | None = None) -> Tensor:
        """J = E[reward] - beta KL, by enumeration."""
        reward = self.reward if reward is None else reward
        return (log_policy.exp() * (reward - BETA * (log_policy - self.log_reference))).sum()

    def start(self) -> Tensor:
        return self.reference.clone().requires_grad_()


def token_log_probabilities(logits: Tensor) -> Tensor:
    """Of every token of all responses, (81, 4)."""
    return logits.log_softmax(-1)[CONTEXTS, RESPONSES]


def sequence_log_probabilities(logits: Tensor) -> Tensor:
    return token_log_probabilities(logits).sum(1)


def divergence(log_first: Tensor, log_second: Tensor) -> float:
    """KL(first || second) over the 81 responses."""
    return float((log_first.exp() * (log_first - log_second)).sum())


def sample(logits: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Indices of responses that the policy draws, (count,)."""
    law = sequence_log_probabilities(logits.detach()).exp()
    return torch.multinomial(law, count, replacement=True, generator=draw)
