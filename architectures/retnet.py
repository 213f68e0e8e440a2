"""RetNet: linear attention with fixed decays, one per head, and rotary positions."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import head_width, rotary, rotate
from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import require_positive
from architectures.linear import linear_attention, linear_attention_flops


class RetNetState(NamedTuple):
    """The matrix of each layer, (B, H, K, V), and how many tokens they have read."""

    matrices: list[Tensor]
    position: int


class Retention(nn.Module):
    """Head h decays by 1 - 2^(-5 - h) per token; a norm per head and a gate follow, (B, T, D)."""

    def __init__(self, width: int, heads: int, chunk: int, kernels: Kernels) -> None:
        super().__init__()
        self.heads, self.keys, self.chunk = heads, heads * head_width(width, heads), chunk
        # queries, keys, and values and gates twice as wide
        self.into = nn.Linear(width, 6 * self.keys, bias=False)
        self.recurrence = Recurrence(linear_attention, "linear_attention", kernels)
        self.norm = nn.GroupNorm(heads, 2 * self.keys)
        self.out = nn.Linear(2 * self.keys, width, bias=False)

    def forward(
        self, x: Tensor, rotation: Tensor, matrix: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        sizes = [self.keys, self.keys, 2 * self.keys, 2 * self.keys]
        *parts, gate = self.into(x).split(sizes, dim=-1)
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)) for part in parts)
        queries = rotate(queries, rotation)  # (B, T, H, K)
        keys = rotate(keys, rotation) / math.sqrt(keys.shape[-1])
        decays = self.log_decays(rotation).expand(1, x.shape[1], -1)
        read, matrix = self.recurrence(queries, keys, values, decays, matrix, self.chunk)
        # (B, T, H, V) -> (B·T, H·V) -> (B, T, H·V)
        normed = self.norm(read.flatten(0, 1).flatten(1)).view_as(gate)
        return self.out(normed * functional.silu(gate)), matrix

    def log_decays(self, like: Tensor) -> Tensor:
        """Return the logarithms of the decays, (H)."""
        powers = torch.arange(5, 5 + self.heads, dtype=like.dtype, device=like.device)
        return torch.log1p(-(2.0**-powers))


class RetNetBlock(nn.Module):
    """x + retention(norm(x)), then x + feed-forward(norm(x)) of 2·D."""

    def __init__(
        self, width: int, heads: int, chunk: int, kernels: Kernels, dropout: float
    ) -> None:
        super().__init__()
        self.retention_norm = nn.LayerNorm(width)
        self.retention = Retention(width, heads, chunk, kernels)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 2 * width, bias=False)
        self.feed_out = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, rotation: Tensor, matrix: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        mixed, matrix = self.retention(self.retention_norm(x), rotation, matrix)
        x = x + self.dropout(mixed)
        hidden = functional.gelu(self.feed_in(self.feed_norm(x)))
        return x + self.dropout(self.feed_out(hidden)), matrix


class RetNet(Backbone):
    """Sun et al. 2023, arXiv:2307.08621: values twice as wide as keys, feed-forward of 2·D.

    Heads of K = D / H, rounded up to an even number, so that any D is accepted. The paper's scaling
    of the scores by their sums is left out: the norm that follows cancels it.
    """

    causal = True

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        chunk: int = 64,
        kernels: Kernels = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        self.heads, self.key_width = heads, head_width(width, heads)
        self.chunk = require_positive("chunk", chunk)
        options = (width, heads, chunk, kernels, dropout)
        self.blocks = nn.ModuleList(
            RetNetBlock(*options) for _ in range(require_positive("layers", layers))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: RetNetState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, RetNetState | None]:
        position = 0 if state is None else state.position
        end = position + x.shape[1]
        rotation = rotary(position, end, self.key_width, x).unsqueeze(1)  # (T, 1, K)
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, matrix = block(x, rotation, None if state is None else state.matrices[layer])
            after.append(matrix)
        return x, None if state is None else RetNetState(after, end)

    def init_state(self, batch: int, length: int, like: Tensor) -> RetNetState:
        """Return a matrix per layer and head, zeros, for any length."""
        shape = (batch, self.heads, self.key_width, 2 * self.key_width)
        return RetNetState([like.new_zeros(shape) for _ in self.blocks], 0)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, with E = H·K ≈ D: maps 16·D·E, feed-forward 8·D², and the retention.

        With C tokens per chunk that is 6·E·(C + 1)/2 (6·E·C over the full square) and, beyond one
        chunk, 8·E·K.
        """
        maps = 16 * self.width * self.heads * self.key_width + 8 * self.width**2
        shape = (self.heads, self.heads, self.key_width, 2 * self.key_width)
        mixing = linear_attention_flops(length, self.chunk, shape, full_mask)
        return len(self.blocks) * (maps + mixing)
