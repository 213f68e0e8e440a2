"""The modern decoder: RMSNorm before each part, rotary positions, SwiGLU, normed queries and keys, no biases."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from architectures.gelu import gelu
from architectures.interface import Backbone
from architectures.layers import (
    Attention,
    AttentionState,
    Cache,
    LightModule,
    Linear,
    RMSNorm,
    attention_flops,
    drop,
    head_width,
    init_attention_state,
    require_positive,
    rotary,
)


class SwiGLU(LightModule):
    """Gated feed-forward (Shazeer 2020, arXiv:2002.05202), two thirds as wide as 4·D where it shall cost as much."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.into = Linear(width, 2 * hidden, bias=False)  # gate and value in one product
        self.out = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.into(x).chunk(2, dim=-1)  # (B, T, D) -> two of (B, T, hidden)
        return self.out(self.bend(gate) * value)  # (B, T, hidden) -> (B, T, D)

    def bend(self, gate: Tensor) -> Tensor:
        return functional.silu(gate)


class GeGLU(SwiGLU):
    """The same with GELU, by way of tanh as in Gemma."""

    def bend(self, gate: Tensor) -> Tensor:
        return gelu(gate)


FEEDS = {
    "swiglu": (SwiGLU, 8 / 3),
    "geglu": (GeGLU, 3),
}  # the class, and how many times as wide as D it is


def feed_width(width: int, times: float) -> int:
    """times·D, in eights."""
    return max(8, int(round(times * width, 6)) // 8 * 8)


class Block(LightModule):
    def __init__(self, attention: Attention, feed: SwiGLU, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = attention
        self.feed_norm = RMSNorm(width)
        self.feed = feed
        self.dropout = dropout

    def forward(self, x: Tensor, cache: Cache | None, position: int, rotation: Tensor) -> Tensor:
        x = x + drop(
            self.attention(self.attention_norm(x), cache, position, rotation),
            self.dropout,
            self.training,
        )
        return x + drop(self.feed(self.feed_norm(x)), self.dropout, self.training)


class Transformer(Backbone):
    """Llama's block (Touvron et al. 2023, arXiv:2302.13971) with normed queries and keys (arXiv:2010.04245).

    `window`: each layer sees the last `window` tokens, its own among them, as in Mistral (Jiang et al. 2023,
    arXiv:2310.06825); 0: all of them. What a token is made from then reaches layers·(window - 1) tokens back.
    `feed=geglu`: a feed-forward network with GELU, 3·D wide, as in Gemma and Griffin.
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        normed: bool = True,
        dropout: float = 0.0,
        window: int = 0,
        feed: Literal["swiglu", "geglu"] = "swiglu",
    ) -> None:
        super().__init__(width, context)
        self.heads, self.window = heads, window
        kind, times = FEEDS[feed]
        self.hidden = feed_width(width, times)

        def block() -> Block:
            attention = Attention(
                width, heads, causal=True, normed=normed, dropout=dropout, window=window
            )
            return Block(attention, kind(width, self.hidden), width, dropout)

        self.blocks = nn.ModuleList(block() for _ in range(require_positive("layers", layers)))
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: AttentionState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, AttentionState | None]:
        position = 0 if state is None else state.position
        end = position + x.shape[1]
        rotation = rotary(position, end, head_width(self.width, self.heads), x)  # (T, K)
        x = drop(x, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, None if state is None else state.caches[layer], position, rotation)
        return x, None if state is None else AttentionState(state.caches, end)

    def init_state(self, batch: int, length: int, like: Tensor) -> AttentionState:
        return init_attention_state(
            len(self.blocks), self.heads, self.width, batch, self.window or length, like
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: attention 8·D² + 2·D·(T + 1) (4·D·T over the whole square; a window: 4·D·W), and 2·3·D·hidden ≈ 16·D²."""
        attention = attention_flops(self.width, self.heads, length, full_mask, self.window)
        return len(self.blocks) * (attention + 6 * self.width * self.hidden)
