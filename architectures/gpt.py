"""GPT-2: learned positions, LayerNorm before each part, GELU, biases."""

import math

import torch
from torch import Tensor, nn

from architectures.gelu import gelu
from architectures.interface import Backbone
from architectures.layers import (
    Attention,
    AttentionState,
    Cache,
    LayerNorm,
    LightModule,
    Linear,
    attention_flops,
    drop,
    init_attention_state,
    learned_positions,
    require_positive,
)


class Block(LightModule):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width)
        self.attention = Attention(width, heads, causal=True, bias=True, dropout=dropout)
        self.feed_norm = LayerNorm(width)
        self.feed_in = Linear(width, 4 * width)
        self.feed_out = Linear(4 * width, width)
        self.dropout = dropout

    def forward(self, x: Tensor, cache: Cache | None, position: int) -> Tensor:
        x = x + drop(
            self.attention(self.attention_norm(x), cache, position), self.dropout, self.training
        )
        return x + drop(self.feed(self.feed_norm(x)), self.dropout, self.training)

    def feed(self, x: Tensor) -> Tensor:
        hidden = gelu(self.feed_in(x))  # (B, T, D) -> (B, T, 4·D)
        return self.feed_out(hidden)  # (B, T, 4·D) -> (B, T, D)


class GPT(Backbone):
    """Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"."""

    causal = True

    def __init__(
        self, width: int, context: int, layers: int = 4, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.heads = heads
        self.positions = nn.Embedding(context, width)
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
            x + learned_positions(self.positions, position, end, self), self.dropout, self.training
        )  # (B, T, D) + (T, D)
        for layer, block in enumerate(self.blocks):
            x = block(x, None if state is None else state.caches[layer], position)
        return x, None if state is None else AttentionState(state.caches, end)

    def init_state(self, batch: int, length: int, like: Tensor) -> AttentionState:
        return init_attention_state(len(self.blocks), self.heads, self.width, batch, length, like)

    @torch.no_grad()
    def initialise(self) -> None:
        """What enters the residual stream is scaled down with depth, as in GPT-2: the stream's variance then stays near 1."""
        for block in self.blocks:
            assert isinstance(block, Block)
            block.attention.out.weight.div_(math.sqrt(2 * len(self.blocks)))
            block.feed_out.weight.div_(math.sqrt(2 * len(self.blocks)))

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: attention 8·D² + 2·D·(T + 1) (4·D·T over the whole square), and 16·D² for the feed-forward."""
        return len(self.blocks) * (
            attention_flops(self.width, self.heads, length, square=full_mask) + 16 * self.width**2
        )
