"""BERT: a bidirectional encoder with learned positions, LayerNorm after each part, GELU, biases."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone, State, Unsupported
from architectures.layers import (
    Attention,
    LayerNorm,
    Linear,
    attention_flops,
    drop,
    learned_positions,
    require_positive,
    sinusoids,
)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal=False, bias=True, dropout=dropout)
        self.attention_norm = LayerNorm(width)
        self.feed_in = Linear(width, 4 * width)
        self.feed_out = Linear(4 * width, width)
        self.feed_norm = LayerNorm(width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention_norm(x + drop(self.attention(x, mask=mask), self.dropout, self.training))
        return self.feed_norm(x + drop(self.feed(x), self.dropout, self.training))

    def feed(self, x: Tensor) -> Tensor:
        hidden = functional.gelu(self.feed_in(x))  # (B, T, D) -> (B, T, 4·D)
        return self.feed_out(hidden)  # (B, T, 4·D) -> (B, T, D)


class Bert(Backbone):
    """Devlin et al. 2018, arXiv:1810.04805."""

    causal = False

    def __init__(
        self, width: int, context: int, layers: int = 4, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.heads = heads
        self.positions = nn.Embedding(context, width)
        self.input_norm = LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width, heads, dropout) for _ in range(require_positive("layers", layers))
        )
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        T = x.shape[1]
        x = self.input_norm(x + learned_positions(self.positions, 0, T, self))  # (B, T, D) + (T, D)
        x = drop(x, self.dropout, self.training)
        mask = None
        if lengths is not None:  # no token looks at padding
            mask = (torch.arange(T, device=x.device) < lengths[:, None])[
                :, None, None, :
            ]  # (B,) -> (B, 1, 1, T)
        for block in self.blocks:
            x = block(x, mask)
        return x, None

    @torch.no_grad()
    def initialise(self) -> None:
        """Positions begin as waves, and attention sharp enough to tell them apart.

        From noise, an encoder with learned positions stays at the frequencies of its tokens for longer than a small budget
        lasts: each position has to find its neighbours alone. Waves make "the one before" the same turn everywhere.
        """
        self.positions.weight.copy_(0.06 * sinusoids(0, self.context, self.positions.weight))
        for block in self.blocks:
            assert isinstance(block, Block)
            rows = (
                block.attention.into.weight.shape[0] * 2 // 3
            )  # queries and keys; the values stay
            block.attention.into.weight[:rows].mul_(4.0)

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        raise Unsupported(
            "an encoder reads the whole text at once: each new token changes what it made of the earlier ones"
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: attention 8·D² + 4·D·T, always over the whole square, and 16·D² for the feed-forward."""
        return len(self.blocks) * (
            attention_flops(self.width, self.heads, length, square=True) + 16 * self.width**2
        )
