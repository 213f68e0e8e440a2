"""RetNet: linear attention with fixed decays, one a head, and rotary positions."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import head_width, require_positive, rotary, rotate
from architectures.linear import linear_attention, linear_attention_flops


class RetNetState(NamedTuple):
    """The matrix of each layer, (B, H, K, V), and how many tokens they have seen."""

    matrices: list[Tensor]
    position: int


class Retention(nn.Module):
    """(B, T, D) -> (B, T, D): head h forgets by 1 - 2^(-5 - h) a token; a norm a head and a gate follow."""

    def __init__(self, width: int, heads: int, chunk: int, kernels: Kernels) -> None:
        super().__init__()
        self.heads, self.keys, self.chunk = heads, heads * head_width(width, heads), chunk
        self.into = nn.Linear(
            width, 6 * self.keys, bias=False
        )  # queries, keys, and values and gates twice as wide
        self.recurrence = Recurrence(linear_attention, "linear_attention", kernels)
        self.norm = nn.GroupNorm(heads, 2 * self.keys)
        self.out = nn.Linear(2 * self.keys, width, bias=False)

    def forward(
        self, x: Tensor, rotation: Tensor, matrix: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        parts = self.into(x).split([self.keys, self.keys, 2 * self.keys, 2 * self.keys], dim=-1)
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)) for part in parts[:3]
        )  # (B, T, H·K) -> (B, T, H, K)
        queries, keys = (
            rotate(queries, rotation),
            rotate(keys, rotation) / math.sqrt(keys.shape[-1]),
        )
        decays = torch.log1p(
            -(2.0 ** -torch.arange(5, 5 + self.heads, dtype=rotation.dtype, device=x.device))
        )  # (H)
        read, matrix = self.recurrence(
            queries, keys, values, decays.expand(1, x.shape[1], -1), matrix, self.chunk
        )
        normed = self.norm(read.flatten(0, 1).flatten(1)).view_as(
            parts[3]
        )  # (B, T, H, V) -> (B·T, H·V) -> (B, T, H·V)
        return self.out(normed * functional.silu(parts[3])), matrix


class Block(nn.Module):
    def __init__(
        self, width: int, heads: int, chunk: int, kernels: Kernels, dropout: float
    ) -> None:
        super().__init__()
        self.retention_norm, self.retention = (
            nn.LayerNorm(width),
            Retention(width, heads, chunk, kernels),
        )
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 2 * width, bias=False)
        self.feed_out = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, rotation: Tensor, matrix: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        mixed, matrix = self.retention(self.retention_norm(x), rotation, matrix)
        x = x + self.dropout(mixed)
        return x + self.dropout(
            self.feed_out(functional.gelu(self.feed_in(self.feed_norm(x))))
        ), matrix


class RetNet(Backbone):
    """Sun et al. 2023, arXiv:2307.08621: values twice as wide as keys, a feed-forward network of 2·D.

    Heads of K = D / H, rounded up to an even number, so that any D is accepted. The paper's scaling of the scores by their
    sums is left out: the norm that follows takes it away again.
    """

    causal = True

    def __init__(
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
        self.heads, self.key_width, self.chunk = (
            heads,
            head_width(width, heads),
            require_positive("chunk", chunk),
        )
        block = (width, heads, chunk, kernels, dropout)
        self.blocks = nn.ModuleList(
            Block(*block) for _ in range(require_positive("layers", layers))
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
        """A matrix a head and layer, the same for any length."""
        shape = (batch, self.heads, self.key_width, 2 * self.key_width)
        return RetNetState([like.new_zeros(shape) for _ in self.blocks], 0)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer, with E = H·K ≈ D: 12·D·E in, 4·E·D out and 8·D² for the feed-forward; and of the retention, with C tokens a
        chunk, 6·E·(C + 1)/2 within it (6·E·C over the whole square) and, beyond one chunk, 8·E·K."""
        inner = self.heads * self.key_width
        sizes = (self.chunk, self.heads, self.heads, self.key_width, 2 * self.key_width)
        return len(self.blocks) * (
            16 * self.width * inner
            + 8 * self.width**2
            + linear_attention_flops(length, *sizes, full_mask)
        )
