"""Gated linear attention: a matrix a head whose every row decays by a gate of its own."""

import math

from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import RMSNorm, head_width, require_positive
from architectures.linear import linear_attention, linear_attention_flops
from architectures.transformer import SwiGLU, feed_width

RANK = 16  # of the map to the gates of forgetting
TEMPERATURE = 16  # α = sigmoid(·)^(1/16): gates begin close to 1


class GatedAttention(nn.Module):
    """(B, T, D) -> (B, T, D): linear attention with a gate for each row, a norm a head, and a gate on what is read."""

    def __init__(
        self, width: int, heads: int, key_width: int, value_width: int, chunk: int, kernels: Kernels
    ) -> None:
        super().__init__()
        self.heads, self.keys, self.values, self.chunk = (
            heads,
            heads * key_width,
            heads * value_width,
            chunk,
        )
        self.into = nn.Linear(
            width, 2 * (self.keys + self.values) + RANK, bias=False
        )  # queries, keys, values, gates, forgetting
        self.gate_bias = nn.Parameter(self.into.weight.new_zeros(self.values))
        self.recurrence = Recurrence(linear_attention, "linear_attention", kernels)
        self.forget = nn.Linear(RANK, self.keys)
        self.norm = nn.LayerNorm(value_width)
        self.out = nn.Linear(self.values, width, bias=False)

    def forward(self, x: Tensor, matrix: Tensor | None) -> tuple[Tensor, Tensor | None]:
        *parts, gate, low = self.into(x).split(
            [self.keys, self.keys, self.values, self.values, RANK], dim=-1
        )
        decays = functional.logsigmoid(self.forget(low)) / TEMPERATURE  # (B, T, H·K)
        heads = (
            part.unflatten(-1, (self.heads, -1)) for part in (*parts, decays)
        )  # (B, T, H·K) -> (B, T, H, K)
        queries, keys, values, decays = heads
        read, matrix = self.recurrence(
            queries / math.sqrt(queries.shape[-1]), keys, values, decays, matrix, self.chunk
        )
        read = self.norm(read).flatten(2) * functional.silu(
            gate + self.gate_bias
        )  # (B, T, H, V) -> (B, T, H·V)
        return self.out(read), matrix


class Block(nn.Module):
    def __init__(self, width: int, attention: GatedAttention, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = RMSNorm(width), attention
        self.feed_norm, self.feed = RMSNorm(width), SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, matrix: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mixed, matrix = self.attention(self.attention_norm(x), matrix)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed(self.feed_norm(x))), matrix


class GLA(Backbone):
    """Yang et al. 2023, arXiv:2312.06635: keys of D / 2 together, values of D, and SwiGLU.

    Heads of D / 2H and D / H, rounded up to even widths, so that any D is accepted. Beyond one chunk the cost of a token
    does not grow with the length; a chunk is filled up to a power of two.
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
        self.heads, self.chunk = heads, require_positive("chunk", chunk)
        self.value_width, self.hidden = head_width(width, heads), feed_width(width, 8 / 3)
        self.key_width = 2 * -(-width // (4 * heads))
        mixer = (width, heads, self.key_width, self.value_width, chunk, kernels)
        blocks = (
            Block(width, GatedAttention(*mixer), self.hidden, dropout)
            for _ in range(require_positive("layers", layers))
        )
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, matrix = block(x, None if state is None else state[layer])
            after.append(matrix)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """A matrix a head and layer, (B, H, K, V), the same for any length."""
        return [
            like.new_zeros(batch, self.heads, self.key_width, self.value_width) for _ in self.blocks
        ]

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer, with E = H·K ≈ D/2 and F = H·V ≈ D: 2·D·(2·E + 2·F + 16) in, 32·E for the gates, 2·F·D out and 6·D·hidden
        for the feed-forward; and of the attention, with C tokens a chunk, 2·(E + F)·(C - 1)/2 (it has no square to look over
        as a whole) and, beyond one chunk, 4·E·V."""
        keys, values = self.heads * self.key_width, self.heads * self.value_width
        maps = (
            2 * self.width * (2 * (keys + values) + RANK)
            + 2 * RANK * keys
            + 2 * values * self.width
        )
        sizes = (self.chunk, self.heads, self.heads, self.key_width, self.value_width)
        mixing = linear_attention_flops(length, *sizes, full_mask, halving=True)
        return len(self.blocks) * (maps + 6 * self.width * self.hidden + mixing)
