"""Shape rewards token by token: by a potential, which keeps the optimum, or by a bonus."""

import torch
from torch import Tensor


def terminal_rewards(rewards: Tensor, mask: Tensor) -> Tensor:
    """Return rewards (B,) at the last token of each response, else 0: (B, R)."""
    last = mask.cumsum(dim=1).eq(mask.sum(dim=1, keepdim=True)) & mask.bool()
    return last * rewards[:, None]


def potential_shaping(potentials: Tensor, mask: Tensor) -> Tensor:
    """Return Φ(after a token) - Φ(before it), (B, R), of potentials (B, R + 1) of prefixes.

    Φ after the last token counts as zero, so that every response earns -Φ(prompt) in all and the
    optimum stays (Ng, Harada & Russell 1999).
    """
    going_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    return (potentials[:, 1:] * going_on - potentials[:, :-1]) * mask


def naive_bonus(counts: Tensor, mask: Tensor, weight: float) -> Tensor:
    """Return `weight` for each thing counted at a token, (B, R): it moves the optimum."""
    return weight * counts * mask
