"""The first transformer, as a decoder alone: LayerNorm after each part, sinusoidal positions, ReLU, biases."""

import math

from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.layers import (
    Attention,
    AttentionState,
    Cache,
    LayerNorm,
    Linear,
    attention_flops,
    drop,
    init_attention_state,
    require_positive,
    sinusoids,
)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal=True, bias=True, dropout=dropout)
        self.attention_norm = LayerNorm(width)
        self.feed_in = Linear(width, 4 * width)
        self.feed_out = Linear(4 * width, width)
        self.feed_norm = LayerNorm(width)
        self.dropout = dropout

    def forward(self, x: Tensor, cache: Cache | None, position: int) -> Tensor:
        x = self.attention_norm(
            x + drop(self.attention(x, cache, position), self.dropout, self.training)
        )
        return self.feed_norm(x + drop(self.feed(x), self.dropout, self.training))

    def feed(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.feed_in(x))  # (B, T, D) -> (B, T, 4·D)
        return self.feed_out(hidden)  # (B, T, 4·D) -> (B, T, D)


class Transformer2017(Backbone):
    """Vaswani et al. 2017, arXiv:1706.03762: its decoder without an encoder to look at."""

    causal = True

    def __init__(
        self, width: int, context: int, layers: int = 4, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.heads = heads
        self.blocks = nn.ModuleList(
            Block(width, heads, dropout) for _ in range(require_positive("layers", layers))
        )
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: AttentionState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, AttentionState | None]:
        position = 0 if state is None else state.position
        end = position + x.shape[1]
        x = drop(
            x * math.sqrt(self.width) + sinusoids(position, end, x), self.dropout, self.training
        )  # (B, T, D) + (T, D)
        for layer, block in enumerate(self.blocks):
            x = block(x, None if state is None else state.caches[layer], position)
        return x, None if state is None else AttentionState(state.caches, end)

    def init_state(self, batch: int, length: int, like: Tensor) -> AttentionState:
        return init_attention_state(len(self.blocks), self.heads, self.width, batch, length, like)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: attention 8·D² + 2·D·(T + 1) (4·D·T over the whole square), and 16·D² for the feed-forward."""
        return len(self.blocks) * (
            attention_flops(self.width, self.heads, length, square=full_mask) + 16 * self.width**2
        )
