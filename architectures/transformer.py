"""The modern decoder: RMSNorm first, rotary positions, SwiGLU, normed queries and keys."""

from collections.abc import Iterator, Mapping
from typing import Literal

from torch import Tensor, nn

from architectures.attention import (
    Attention,
    AttentionBackbone,
    AttentionState,
    attention_flops,
    head_width,
    rotary,
)
from architectures.interface import TransformersForm
from architectures.layers import (
    GeGLU,
    LightModule,
    RMSNorm,
    SwiGLU,
    drop,
    feed_width,
    require_positive,
)
from architectures.window import Cache

FEEDS = {"swiglu": (SwiGLU, 8 / 3), "geglu": (GeGLU, 3)}  # the class, and its width over D


class TransformerBlock(LightModule):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, attention: Attention, feed: SwiGLU, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width)
        self.attention = attention
        self.feed_norm = RMSNorm(width)
        self.feed = feed
        self.dropout = dropout

    def forward(self, x: Tensor, cache: Cache | None, position: int, rotation: Tensor) -> Tensor:
        mixed = self.attention(self.attention_norm(x), cache, position, rotation)
        x = x + drop(mixed, self.dropout, self.training)
        return x + drop(self.feed(self.feed_norm(x)), self.dropout, self.training)


class Transformer(AttentionBackbone):
    """Llama's block (Touvron et al. 2023, arXiv:2302.13971) with normed queries and keys.

    Query and key norms: arXiv:2010.04245. `window`: each layer sees the last `window` tokens,
    its own included, as in Mistral (Jiang et al. 2023, arXiv:2310.06825); 0: all of them. A token
    then depends on layers·(window - 1) tokens before it. `feed=geglu`: a feed-forward network with
    GELU, 3·D wide, as in Gemma and Griffin.
    """

    def __init__(  # noqa: PLR0913
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
        self.heads, self.window, self.normed, self.feed = heads, window, normed, feed
        kind, times = FEEDS[feed]
        self.hidden = feed_width(width, times)

        def block() -> TransformerBlock:
            attention = Attention(width, heads, True, False, normed, dropout, window)
            return TransformerBlock(attention, kind(width, self.hidden), width, dropout)

        self.blocks = nn.ModuleList(block() for _ in range(require_positive("layers", layers)))
        self.dropout = dropout

    def add_positions(self, x: Tensor, start: int, end: int) -> tuple[Tensor, ...]:
        return x, rotary(start, end, head_width(self.width, self.heads), x)  # and (T, K)

    def init_state(self, batch: int, length: int, like: Tensor) -> AttentionState:
        """Return empty caches with room for `length` tokens, or for the window."""
        return super().init_state(batch, self.window or length, like)

    def transformers_form(self) -> TransformersForm:
        """Return a Qwen 3; without normed queries and keys a Llama."""
        if type(self) is not Transformer or (self.window and not self.normed):
            return super().transformers_form()
        config = {
            "model_type": "qwen3" if self.normed else "llama",
            "architectures": ["Qwen3ForCausalLM" if self.normed else "LlamaForCausalLM"],
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": len(self.blocks),
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": head_width(self.width, self.heads),
            "hidden_act": {"swiglu": "silu", "geglu": "gelu_pytorch_tanh"}[self.feed],
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        }
        if self.window:
            kinds = ["sliding_attention"] * len(self.blocks)
            config |= {"use_sliding_window": True, "sliding_window": self.window}
            config |= {"layer_types": kinds, "max_window_layers": 0}
        weights: dict[str, Tensor] = {}
        for layer, block in enumerate(self.blocks):
            own = block.state_dict()
            weights |= {f"model.layers.{layer}.{name}": one for name, one in _renamed(own)}
        return TransformersForm(config, weights, "model.embed_tokens.weight", "model.norm.weight")

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: attention 8·D² + 2·D·(T + 1), feed-forward 6·D·hidden ≈ 16·D².

        Attention over the full square is 8·D² + 4·D·T, with a window W 8·D² + 4·D·W.
        """
        attention = attention_flops(self.width, self.heads, length, full_mask, self.window)
        return len(self.blocks) * (attention + 6 * self.width * self.hidden)


def _renamed(block: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights of a block under the names that Llama and Qwen 3 have in common."""
    for projection, rows in zip("qkv", block["attention.into.weight"].chunk(3), strict=True):
        yield f"self_attn.{projection}_proj.weight", rows
    for name, rows in zip(("gate", "up"), block["feed.into.weight"].chunk(2), strict=True):
        yield f"mlp.{name}_proj.weight", rows
    names = {
        "attention.out": "self_attn.o_proj",
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
        "feed.out": "mlp.down_proj",
        "attention_norm": "input_layernorm",
        "feed_norm": "post_attention_layernorm",
    }
    for ours, theirs in names.items():
        if f"{ours}.weight" in block:
            yield f"{theirs}.weight", block[f"{ours}.weight"]
