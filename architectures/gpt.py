"""GPT-2: learned positions, LayerNorm before each part, GELU, biases."""

import math

import torch
from torch import Tensor, nn

from architectures.attention import Attention, AttentionBackbone, learned_positions
from architectures.gelu import gelu
from architectures.interface import TransformersForm, Unsupported
from architectures.layers import LayerNorm, LightModule, Linear, drop, require_positive
from architectures.window import Cache


class GPTBlock(LightModule):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(width)
        self.attention = Attention(width, heads, causal=True, bias=True, dropout=dropout)
        self.feed_norm = LayerNorm(width)
        self.feed_in = Linear(width, 4 * width)
        self.feed_out = Linear(4 * width, width)
        self.dropout = dropout

    def forward(self, x: Tensor, cache: Cache | None, position: int) -> Tensor:
        mixed = self.attention(self.attention_norm(x), cache, position)
        x = x + drop(mixed, self.dropout, self.training)
        hidden = gelu(self.feed_in(self.feed_norm(x)))  # (B, T, D) -> (B, T, 4·D)
        return x + drop(self.feed_out(hidden), self.dropout, self.training)


class GPT(AttentionBackbone):
    """Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"."""

    def __init__(
        self, width: int, context: int, layers: int = 4, heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.heads = heads
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(
            GPTBlock(width, heads, dropout) for _ in range(require_positive("layers", layers))
        )
        self.dropout = dropout

    def add_positions(self, x: Tensor, start: int, end: int) -> tuple[Tensor, ...]:
        return (x + learned_positions(self.positions, start, end, self),)  # (B, T, D) + (T, D)

    def transformers_form(self) -> TransformersForm:
        """Raise Unsupported: GPT-2 differs in its final norm."""
        raise Unsupported(
            "GPT-2 ends in a LayerNorm, and all architectures here share an RMSNorm as final norm"
        )

    @torch.no_grad()
    def initialise(self) -> None:
        """Scale what enters the residual stream down with depth: its variance stays near 1."""
        for block in self.blocks:
            assert isinstance(block, GPTBlock)
            block.attention.out.weight.div_(math.sqrt(2 * len(self.blocks)))
            block.feed_out.weight.div_(math.sqrt(2 * len(self.blocks)))
