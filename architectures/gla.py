"""Gated linear attention: a matrix per head, each row of which decays by its own gate."""

import math

from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import head_width
from architectures.kernels import Kernels, Recurrence
from architectures.layers import BlockStack, ResidualBlock, feed_width, require_positive
from architectures.linear import linear_attention, linear_attention_flops

RANK = 16  # of the map to the forget gates
TEMPERATURE = 16  # α = sigmoid(·)^(1/16): gates begin close to 1


class GatedAttention(nn.Module):
    """Linear attention with a gate per row, a norm per head, and an output gate, (B, T, D)."""

    def __init__(
        self, width: int, heads: int, key_width: int, value_width: int, chunk: int, kernels: Kernels
    ) -> None:
        super().__init__()
        self.heads, self.chunk = heads, chunk
        self.keys, self.values = heads * key_width, heads * value_width
        # queries, keys, values, output gates, forget gates
        self.into = nn.Linear(width, 2 * (self.keys + self.values) + RANK, bias=False)
        self.gate_bias = nn.Parameter(self.into.weight.new_zeros(self.values))
        self.recurrence = Recurrence(linear_attention, "linear_attention", kernels)
        self.forget = nn.Linear(RANK, self.keys)
        self.norm = nn.LayerNorm(value_width)
        self.out = nn.Linear(self.values, width, bias=False)

    def forward(self, x: Tensor, matrix: Tensor | None) -> tuple[Tensor, Tensor | None]:
        sizes = [self.keys, self.keys, self.values, self.values, RANK]
        *parts, gate, low = self.into(x).split(sizes, dim=-1)
        decays = functional.logsigmoid(self.forget(low)) / TEMPERATURE  # (B, T, H·K)
        queries, keys, values, decays = (
            part.unflatten(-1, (self.heads, -1)) for part in (*parts, decays)
        )  # (B, T, H·K) -> (B, T, H, K)
        queries = queries / math.sqrt(queries.shape[-1])
        read, matrix = self.recurrence(queries, keys, values, decays, matrix, self.chunk)
        # (B, T, H, V) -> (B, T, H·V)
        gated = self.norm(read).flatten(2) * functional.silu(gate + self.gate_bias)
        return self.out(gated), matrix


class GLA(BlockStack):
    """Yang et al. 2023, arXiv:2312.06635: keys of D / 2 in all, values of D, and SwiGLU.

    Heads of D / 2H and D / H, rounded up to even widths, so that any D is accepted. Beyond one
    chunk the cost per token does not grow with the length; a chunk is padded to a power of two.
    """

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
        self.heads, self.chunk = heads, require_positive("chunk", chunk)
        self.value_width, self.hidden = head_width(width, heads), feed_width(width, 8 / 3)
        self.key_width = 2 * -(-width // (4 * heads))
        mixer = (width, heads, self.key_width, self.value_width, chunk, kernels)

        def block(_: int) -> ResidualBlock:
            return ResidualBlock("attention", GatedAttention(*mixer), width, self.hidden, dropout)

        self.set_blocks(layers, block, dropout)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """Return a matrix per layer and head, zeros (B, H, K, V), for any length."""
        shape = (batch, self.heads, self.key_width, self.value_width)
        return [like.new_zeros(shape) for _ in self.blocks]

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, with E = H·K ≈ D/2 and F = H·V ≈ D, C tokens per chunk.

        Maps 2·D·(2·E + 2·F + 16) + 32·E + 2·F·D, feed-forward 6·D·hidden, attention
        2·(E + F)·(C - 1)/2 (it has no full square) and, beyond one chunk, 4·E·V.
        """
        keys, values = self.heads * self.key_width, self.heads * self.value_width
        maps = 2 * self.width * (2 * (keys + values) + RANK)
        maps += 2 * RANK * keys + 2 * values * self.width
        shape = (self.heads, self.heads, self.key_width, self.value_width)
        mixing = linear_attention_flops(length, self.chunk, shape, full_mask, halving=True)
        return len(self.blocks) * (maps + 6 * self.width * self.hidden + mixing)
