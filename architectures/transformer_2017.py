"""The first transformer as a decoder: LayerNorm after each part, sinusoids, ReLU, biases."""

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import Attention, AttentionBackbone, sinusoids
from architectures.layers import LayerNorm, Linear, drop, require_positive
from architectures.window import Cache


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + feed-forward(x))."""

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        causal: bool = True,
        activation: Callable[[Tensor], Tensor] = functional.relu,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal, bias=True, dropout=dropout)
        self.attention_norm = LayerNorm(width)
        self.feed_in = Linear(width, 4 * width)
        self.feed_out = Linear(4 * width, width)
        self.feed_norm = LayerNorm(width)
        self.dropout, self.activation = dropout, activation

    def forward(
        self, x: Tensor, cache: Cache | None = None, position: int = 0, mask: Tensor | None = None
    ) -> Tensor:
        mixed = self.attention(x, cache, position, mask=mask)
        x = self.attention_norm(x + drop(mixed, self.dropout, self.training))
        hidden = self.activation(self.feed_in(x))  # (B, T, D) -> (B, T, 4·D)
        return self.feed_norm(x + drop(self.feed_out(hidden), self.dropout, self.training))


class Transformer2017(AttentionBackbone):
    """Vaswani et al. 2017, arXiv:1706.03762: the decoder without cross-attention."""

    def __init__(
        self, width: int, context: int, layers: int = 4, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.heads = heads
        self.blocks = nn.ModuleList(
            PostNormBlock(width, heads, dropout) for _ in range(require_positive("layers", layers))
        )
        self.dropout = dropout

    def add_positions(self, x: Tensor, start: int, end: int) -> tuple[Tensor, ...]:
        return (x * math.sqrt(self.width) + sinusoids(start, end, x),)  # (B, T, D) + (T, D)
