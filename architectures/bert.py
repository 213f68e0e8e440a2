"""BERT: a bidirectional encoder, learned positions, LayerNorm after each part, GELU, biases."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.attention import Attention, attention_flops, learned_positions, sinusoids
from architectures.interface import Backbone, State, TransformersForm, Unsupported
from architectures.layers import LayerNorm, Linear, drop, require_positive

NO_STATE = "an encoder reads the full text at once: a new token changes the outputs of earlier ones"


class BertBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + feed-forward(x))."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal=False, bias=True, dropout=dropout)
        self.attention_norm = LayerNorm(width)
        self.feed_in = Linear(width, 4 * width)
        self.feed_out = Linear(4 * width, width)
        self.feed_norm = LayerNorm(width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        mixed = self.attention(x, mask=mask)
        x = self.attention_norm(x + drop(mixed, self.dropout, self.training))
        hidden = functional.gelu(self.feed_in(x))  # (B, T, D) -> (B, T, 4·D)
        return self.feed_norm(x + drop(self.feed_out(hidden), self.dropout, self.training))


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
            BertBlock(width, heads, dropout) for _ in range(require_positive("layers", layers))
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
            x = block(x, mask)
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
            assert isinstance(block, BertBlock)
            weight = block.attention.into.weight
            weight[: weight.shape[0] * 2 // 3].mul_(4.0)  # queries and keys, not values

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        """Raise Unsupported."""
        raise Unsupported(NO_STATE)

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
