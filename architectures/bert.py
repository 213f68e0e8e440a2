"""BERT: a bidirectional encoder, learned positions, LayerNorm after each part, GELU, biases."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import attention_flops, learned_positions, sinusoids
from architectures.interface import Backbone, State, TransformersForm, Unsupported
from architectures.layers import LayerNorm, drop, require_positive
from architectures.transformer_2017 import PostNormBlock


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
            PostNormBlock(width, heads, dropout, causal=False, activation=functional.gelu)
            for _ in range(require_positive("layers", layers))
        )
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, None]:
        T = x.shape[1]
        x = self.input_norm(x + learned_positions(self.positions, 0, T, self))  # (B, T, D)
        x = drop(x, self.dropout, self.training)
        mask = None
        if lengths is not None:  # no token sees padding: (B,) -> (B, 1, 1, T)
            mask = (torch.arange(T, device=x.device) < lengths[:, None])[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask=mask)
        return x, None

    @torch.no_grad()
    def initialise(self) -> None:
        """Start positions as sinusoids, and attention sharp enough to separate them.

        From noise, an encoder with learned positions stays at the frequencies of its tokens for
        longer than a small budget lasts: each position has to find its neighbours alone. With
        sinusoids "the token before" is the same rotation everywhere.
        """
        self.positions.weight.copy_(0.06 * sinusoids(0, self.context, self.positions.weight))
        for block in self.blocks:
            assert isinstance(block, PostNormBlock)
            weight = block.attention.into.weight
            weight[: weight.shape[0] * 2 // 3].mul_(4.0)  # queries and keys, not values

    def transformers_form(self) -> TransformersForm:
        """Raise Unsupported: between encoder and logits transformers has other layers."""
        raise Unsupported(
            "BERT has a dense layer, a LayerNorm and a bias before its logits, and all "
            "architectures here share an RMSNorm"
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: attention 8·D² + 4·D·T, the full square; feed-forward 16·D²."""
        attention = attention_flops(self.width, self.heads, length, square=True)
        return len(self.blocks) * (attention + 16 * self.width**2)
