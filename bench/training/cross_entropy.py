"""Compute the nats of targets from hidden states, in pieces where the vocabulary is large."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

MAX_LOGITS = 1 << 25  # held at once (128 MiB in float32); up to here everything is one piece


def tokens_per_piece(vocabulary: int) -> int:
    """Return how many tokens a piece has."""
    return max(1, MAX_LOGITS // vocabulary)


def logits_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the nats of each target, (N, V) and (N,) -> (N,), in float32."""
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def weighted_sum(hidden: Tensor, table: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Return Σ weight · nats in pieces: hidden (N, D), table (V, D), targets and weight (N,).

    Sum and gradients equal those of one piece but for rounding. The gradients are computed along
    with the logits and kept for the backward: N·D and V·D numbers in place of N·V, and no more
    operations.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden, table = (tensor.to(torch.get_autocast_dtype(device)) for tensor in (hidden, table))
    return _WeightedSum.apply(hidden, table, targets, weight, tokens_per_piece(len(table)))


def _logits_gradient(log_p: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient by the logits, (n, V), in the memory of `log_p`."""
    minus_one = torch.full_like(index, -1, dtype=torch.float32)
    return log_p.exp_().scatter_add_(1, index, minus_one).mul_(weight)


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, weight: Tensor, rows: int
    ) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        for_hidden = torch.empty_like(hidden)
        for_table = torch.zeros_like(table, dtype=torch.float32)
        for first in range(0, len(hidden), rows):
            piece = slice(first, first + rows)
            logits = (hidden[piece] @ table.T).float()  # (n, D) -> (n, V)
            log_p, index = functional.log_softmax(logits, dim=-1), targets[piece, None]
            total = total - (log_p.gather(1, index)[:, 0] * weight[piece]).sum()
            gradient = _logits_gradient(log_p, index, weight[piece, None]).to(table.dtype)
            for_hidden[piece] = gradient @ table
            for_table += gradient.T @ hidden[piece]
        ctx.save_for_backward(for_hidden, for_table.to(table.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (scale.to(saved.dtype) * saved for saved in ctx.saved_tensors)
        return *scaled, None, None, None
