"""Nats of targets from hidden states; in pieces where the vocabulary is large, so that not all logits are held at once."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

MAX_LOGITS = (
    1 << 25
)  # numbers that are held at once: 128 MiB in float32; up to here everything is one piece


def tokens_per_piece(vocabulary: int) -> int:
    """How many tokens a piece has."""
    return max(1, MAX_LOGITS // vocabulary)


def target_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """The nats of each target, (N, V) and (N,) -> (N,), in float32."""
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def weighted_sum(hidden: Tensor, table: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Σ weight · nats in pieces, for the head that multiplies (N, D) by the table, (V, D); targets and weight (N,).

    The sum and its gradients are those of one piece but for rounding; so is the number of operations, since the gradients are
    made together with the logits, which need not be made a second time. They are kept for the backward: N·D and V·D numbers
    in place of N·V.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden, table = (tensor.to(torch.get_autocast_dtype(device)) for tensor in (hidden, table))
    return _WeightedSum.apply(hidden, table, targets, weight, tokens_per_piece(len(table)))


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
            logarithms = functional.log_softmax(
                (hidden[piece] @ table.T).float(), dim=-1
            )  # (n, D) -> (n, V)
            asked = targets[piece, None]  # (n, 1)
            total = total - (logarithms.gather(1, asked)[:, 0] * weight[piece]).sum()
            gradient = logarithms.exp_().scatter_add_(
                1, asked, torch.full_like(asked, -1, dtype=torch.float32)
            )
            gradient = gradient.mul_(weight[piece, None]).to(
                table.dtype
            )  # (n, V): of the sum by the logits
            for_hidden[piece] = gradient @ table
            for_table += gradient.T @ hidden[piece]
        ctx.save_for_backward(for_hidden, for_table.to(table.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        for_hidden, for_table = ctx.saved_tensors
        return (
            scale.to(for_hidden.dtype) * for_hidden,
            scale.to(for_table.dtype) * for_table,
            None,
            None,
            None,
        )
