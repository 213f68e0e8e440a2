"""Minimal recurrent networks: gates that depend on the input alone, so that training is a scan."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.gelu import gelu
from architectures.layers import BlockStack, RMSNorm, require_positive
from architectures.scan import init_memory, linear_scan
from architectures.short_convolution import ShortConvolution

GATES = {"mingru": 1, "minlstm": 2}  # gates of a cell beside its candidate


class MinimalState(NamedTuple):
    """The state of a layer: memory (B, R), last inputs of the convolution (B, kernel - 1, D)."""

    memory: Tensor
    past: Tensor


class MinimalCell(nn.Module):
    """h_t = keep_t · h_(t-1) + (1 - keep_t) · candidate_t, (B, T, D) -> (B, T, R).

    minGRU: keep = 1 - σ(z). minLSTM: keep = f / (f + i), forget gate f = σ(·), input gate i = σ(·).
    """

    def __init__(self, width: int, inner: int, gates: int) -> None:
        super().__init__()
        self.gates, self.inner = gates, inner
        self.into = nn.Linear(width, (gates + 1) * inner)  # candidate and gates in one product

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        candidate, *gates = self.into(x).split(self.inner, dim=-1)  # each (B, T, R)
        if self.gates == 1:
            keep = torch.sigmoid(-gates[0])
        else:  # f / (f + i) from log f and log i: far from zero both could underflow
            keep = torch.sigmoid(functional.softplus(-gates[1]) - functional.softplus(-gates[0]))
        return linear_scan(keep, candidate - keep * candidate, memory)


class MinimalBlock(nn.Module):
    """x + out(cell(convolution(norm(x)))), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, inner: int, gates: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.cell_norm = RMSNorm(width)
        self.convolution = ShortConvolution(width, kernel) if kernel > 1 else None
        self.cell = MinimalCell(width, inner, gates)
        self.out = nn.Linear(inner, width)
        self.feed_norm = RMSNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: MinimalState | None) -> tuple[Tensor, MinimalState | None]:
        inputs, past = self.cell_norm(x), None if state is None else state.past
        if self.convolution is not None:
            inputs, past = self.convolution(inputs, past)
        memory = init_memory(x.shape[0], self.cell.inner, x) if state is None else state.memory
        memories = self.cell(inputs, memory)  # (B, T, R)
        x = x + self.dropout(self.out(memories.to(x.dtype)))
        x = x + self.dropout(self.feed_out(gelu(self.feed_in(self.feed_norm(x)))))
        # a view would keep all of T alive
        return x, None if past is None else MinimalState(memories[:, -1].clone(), past)


class MinimalRNN(BlockStack):
    """minGRU and minLSTM (Feng et al. 2024, arXiv:2410.01201), in the paper's block.

    `expansion`: the width of the cell over D. `kernel=1`: no convolution. The candidate is linear,
    as in the paper's plain form; the scan needs no logarithms, and so no positive candidates.
    """

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 3,
        cell: Literal["mingru", "minlstm"] = "mingru",
        expansion: int = 1,
        kernel: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        self.kernel, self.gates = require_positive("kernel", kernel), GATES[cell]
        self.inner = require_positive("expansion", expansion) * width
        options = (width, self.inner, self.gates, kernel, dropout)
        self.set_blocks(layers, lambda _: MinimalBlock(*options), dropout)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[MinimalState]:
        """Return per layer a memory of expansion·D and kernel - 1 inputs of D, for any length."""
        past = like.new_zeros(batch, self.kernel - 1, self.width)
        return [
            MinimalState(init_memory(batch, self.inner, like), past.clone()) for _ in self.blocks
        ]

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, R = expansion·D: 2·D·R·(gates + 2) and 16·D² for feed-forward."""
        cell = 2 * self.width * self.inner * (self.gates + 2)
        return len(self.blocks) * (cell + 16 * self.width**2)

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: 2·R for the scan, 2·kernel·D for the convolution."""
        convolution = 2 * self.kernel * self.width if self.kernel > 1 else 0
        return len(self.blocks) * (2 * self.inner + convolution)
