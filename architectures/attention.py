"""Provide attention with a cache or a window, and positions that rotate or are added."""

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.layers import LightModule, Linear, RMSNorm, drop, require_positive
from architectures.window import Cache, attend_window


class AttentionState(NamedTuple):
    """The state of a stack of attention layers: their caches, and how many tokens they hold."""

    caches: list[Cache]
    position: int


class Attention(LightModule):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), (B, T, D) -> (B, T, D).

    Heads are K = D / H wide, rounded up to an even number, so that any width is accepted; where 2H
    divides D, H·K = D as in the paper. `window`: a token sees that many tokens, itself included (0:
    all), and a cache has exactly that room.
    """

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        heads: int,
        causal: bool,
        bias: bool = False,
        normed: bool = False,
        dropout: float = 0.0,
        window: int = 0,
    ) -> None:
        super().__init__()
        if window < 0 or (window and not causal):
            raise ValueError(
                f"window={window} must be at least 0, and a window needs causal attention"
            )
        self.heads, self.head_width = heads, head_width(width, heads)
        self.causal, self.dropout, self.window = causal, dropout, window
        inner = heads * self.head_width
        self.into = Linear(width, 3 * inner, bias=bias)  # queries, keys, values in one product
        self.out = Linear(inner, width, bias=bias)
        # normed queries and keys bound the logits at high learning rates (arXiv:2010.04245)
        self.normed = normed
        self.query_norm = RMSNorm(self.head_width) if normed else nn.Identity()
        self.key_norm = RMSNorm(self.head_width) if normed else nn.Identity()

    def forward(
        self,
        x: Tensor,
        cache: Cache | None = None,
        position: int = 0,
        rotation: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend from each token of x, on top of `position` tokens in a cache.

        `rotation` (T, K): of `rotary`. `mask` (B, 1, 1, T): True where a key may be seen.
        """
        T = x.shape[1]
        queries, new = self.project(x, rotation)  # each (B, H, T, K)
        dropout = self.dropout if self.training else 0.0
        if self.window and (self.window < T or position > 0 or cache is not None):
            mixed = attend_window(self.window, queries, new, cache, position, dropout)
            return self.out(merge_heads(mixed))  # (B, T, H·K) -> (B, T, D)
        # views, not copies
        keys, values = new if cache is None else append_to_cache(cache, position, *new)
        if position > 0 and T > 1:
            mask = seen_keys(position, T, x.device)
        causal = T > 1 and self.causal and position == 0
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, mask, dropout, causal
        )
        return self.out(merge_heads(mixed))  # (B, T, H·K) -> (B, T, D)

    def last_weights(
        self,
        x: Tensor,
        cache: Cache | None = None,
        position: int = 0,
        rotation: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the weights of the last token over a full sequence without padding, (B, H, T)."""
        queries, (keys, _) = self.project(x, rotation)
        logits = (queries[:, :, -1:] @ keys.transpose(2, 3))[:, :, 0] / self.head_width**0.5
        if 0 < self.window < x.shape[1]:
            logits[:, :, : -self.window] = -torch.inf
        return logits.softmax(dim=-1)

    def project(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Cache]:
        """Return queries, and keys with values, normed and rotated, (B, T, D) -> (B, H, T, K)."""
        queries, keys, values = self.split_heads(self.into(x), x.shape[0], x.shape[1])
        if self.normed:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        return queries, Cache(keys, values)

    def split_heads(self, mixed: Tensor, B: int, T: int) -> tuple[Tensor, ...]:
        """Return views of queries, keys and values, (B, T, 3·H·K) -> each (B, H, T, K)."""
        if T == 1:  # in this order already
            return mixed.view(B, 3, self.heads, 1, self.head_width).unbind(1)
        queries, keys, values = mixed.view(B, T, 3, self.heads, self.head_width).unbind(2)
        return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


class AttentionBackbone(Backbone):
    """A causal stack of attention layers, `blocks` with `heads` heads, whose caches hold a text."""

    causal = True
    heads: int
    dropout: float
    blocks: nn.ModuleList

    def forward(
        self, x: Tensor, state: AttentionState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, AttentionState | None]:
        position = 0 if state is None else state.position
        end = position + x.shape[1]
        x, *shared = self.add_positions(x, position, end)
        x = drop(x, self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, None if state is None else state.caches[layer], position, *shared)
        return x, None if state is None else AttentionState(state.caches, end)

    @abstractmethod
    def add_positions(self, x: Tensor, start: int, end: int) -> tuple[Tensor, ...]:
        """Return x (B, T, D) with positions start … end, and what else each block gets."""

    def init_state(self, batch: int, length: int, like: Tensor) -> AttentionState:
        """Return empty caches with room for `length` tokens."""
        shape = (len(self.blocks), batch, self.heads, length, head_width(self.width, self.heads))
        keys, values = like.new_zeros(shape), like.new_zeros(shape)
        return AttentionState([Cache(*layer) for layer in zip(keys, values, strict=True)], 0)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: attention 8·D² + 2·D·(T + 1), feed-forward 16·D².

        With the full square attention is 8·D² + 4·D·T.
        """
        attention = attention_flops(self.width, self.heads, length, square=full_mask)
        return len(self.blocks) * (attention + 16 * self.width**2)


def merge_heads(mixed: Tensor) -> Tensor:
    """Return the heads side by side, (B, H, T, K) -> (B, T, H·K)."""
    B, _, T, _ = mixed.shape  # a single token is in this order already
    return (mixed if T == 1 else mixed.transpose(1, 2)).reshape(B, T, -1)


def seen_keys(position: int, T: int, device: torch.device) -> Tensor:
    """Return a mask by which token t sees the first position + t + 1 keys, (T, position + T)."""
    return torch.ones(T, position + T, dtype=torch.bool, device=device).tril(position)


def append_to_cache(
    cache: Cache, position: int, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Write (B, H, T, K) behind `position` tokens; return views of all that is filled."""
    all_keys, all_values = cache
    end, room = position + keys.shape[2], all_keys.shape[2]
    if end > room:
        raise ValueError(
            f"the state has room for {room} tokens, and token {end} was given: "
            "ask init_state for a longer one"
        )
    all_keys.narrow(2, position, end - position).copy_(keys)
    all_values.narrow(2, position, end - position).copy_(values)
    return all_keys.narrow(2, 0, end), all_values.narrow(2, 0, end)


def head_width(width: int, heads: int) -> int:
    """Return K: D / H rounded up to an even number."""
    return 2 * -(-width // (2 * require_positive("heads", heads)))


def attention_flops(width: int, heads: int, length: int, square: bool, window: int = 0) -> float:
    """Count 2·4·D·H·K for the projections, and 4·H·K for each key that a token is compared with.

    Keys per token: T over the full square; (T + 1)/2, the mean of its causal half; with a window
    W < T W - W·(W - 1)/2T, and 2·W in the blocks that are computed (T rounded up to full blocks).
    """
    inner = heads * head_width(width, heads)
    keys = length if square else (length + 1) / 2
    if window and window < length:
        keys = window - window * (window - 1) / (2 * length)
        if square:
            keys = 2 * window * -(-length // window) * window / length
    return 8 * width * inner + 4 * inner * keys


def rotary(start: int, end: int, head_width: int, like: Tensor, base: float = 10_000.0) -> Tensor:
    """Return rotary angles (Su et al. 2021, arXiv:2104.09864), cosines then sines, (T, K).

    They are computed in float32: in bfloat16 those of far positions would coincide.
    """
    options: Any = {"dtype": torch.float32, "device": like.device}
    frequencies = base ** -torch.arange(0, 1, 2 / head_width, **options)  # (K/2)
    angles = torch.outer(torch.arange(start, end, **options), frequencies)  # (T, K/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(like.dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate the pairs (i, i + K/2) of each head by its position's angles, (B, H, T, K)."""
    cosine, sine = rotation.chunk(2, dim=-1)  # each (T, K/2)
    first, second = x.chunk(2, dim=-1)  # each (B, H, T, K/2)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def sinusoids(start: int, end: int, like: Tensor) -> Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017, section 3.5), sines then cosines, (T, D).

    An odd D lacks one cosine.
    """
    width = like.shape[-1]
    options: Any = {"dtype": torch.float32, "device": like.device}
    frequencies = 10_000.0 ** -torch.arange(0, 1, 2 / width, **options)
    angles = torch.outer(torch.arange(start, end, **options), frequencies)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].to(like.dtype)


def learned_positions(table: nn.Embedding, start: int, end: int, owner: Any) -> Tensor:
    """Return rows start … end of a table of positions, (T, D). Raise ValueError beyond it."""
    if end > table.num_embeddings:
        name, rows = type(owner).__name__, table.num_embeddings
        raise ValueError(
            f"{name} learned positions for its context of {rows} tokens, "
            f"and cannot read token {end}"
        )
    return table.weight.narrow(0, start, end - start)
