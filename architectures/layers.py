"""What two or more architectures share: a norm, attention with a cache, positions that rotate or are learned."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.RMSNorm):
    """Zhang & Sennrich 2019, arXiv:1910.07467. The weight follows the input's precision: else autocast loses the fused kernel."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Cache(NamedTuple):
    """Keys and values seen so far, written in place: each (B, H, N, K), of which the first `position` are filled."""

    keys: Tensor
    values: Tensor


class AttentionState(NamedTuple):
    """The state of a causal stack of attention layers: a cache for each layer, and how many tokens they hold."""

    caches: list[Cache]
    position: int


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), causal or not, (B, T, D) -> (B, T, D).

    Heads are K = D / H wide, rounded up to an even number, so that any width is accepted (an inner width H·K apart from
    D is GPT-3's and Gemma's freedom too); where 2H divides D, H·K = D as in the paper.
    """

    def __init__(self, width: int, heads: int, causal: bool, bias: bool = False, normed: bool = False, dropout: float = 0.0):
        super().__init__()
        self.heads, self.head_width = heads, head_width(width, heads)
        self.causal, self.dropout = causal, dropout
        self.into = nn.Linear(width, 3 * heads * self.head_width, bias=bias)  # queries, keys and values in one product
        self.out = nn.Linear(heads * self.head_width, width, bias=bias)
        # normed queries and keys keep the logits of attention bounded at high learning rates (arXiv:2010.04245)
        self.query_norm = RMSNorm(self.head_width) if normed else nn.Identity()
        self.key_norm = RMSNorm(self.head_width) if normed else nn.Identity()

    def forward(
        self, x: Tensor, cache: Cache | None = None, position: int = 0, rotation: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from each token of x. `rotation` (T, K): of `rotary`. `mask` (B, 1, 1, T): True where a key may be seen."""
        B, T, _ = x.shape
        heads = self.into(x).view(B, T, 3, self.heads, self.head_width)  # (B, T, 3·H·K) -> (B, T, 3, H, K)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, K)
        queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        if cache is not None:
            keys, values = extend(cache, position, keys, values)  # (B, H, position + T, K), views: nothing is copied
        if position > 0 and T > 1:  # several tokens on top of a state: token t sees the first position + t + 1 keys
            mask = torch.ones(T, position + T, dtype=torch.bool, device=x.device).tril(position)
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal and position == 0 and T > 1,
        )
        return self.out(mixed.transpose(1, 2).reshape(B, T, -1))  # (B, H, T, K) -> (B, T, H·K) -> (B, T, D)


def extend(cache: Cache, position: int, keys: Tensor, values: Tensor) -> Cache:
    """Write (B, H, T, K) behind the `position` tokens of a cache; returns views of all that is filled."""
    end, room = position + keys.shape[2], cache.keys.shape[2]
    if end > room:
        raise ValueError(f"the state has room for {room} tokens, and token {end} was given: ask init_state for a longer one")
    cache.keys[:, :, position:end] = keys
    cache.values[:, :, position:end] = values
    return Cache(cache.keys[:, :, :end], cache.values[:, :, :end])


def init_attention_state(layers: int, heads: int, width: int, batch: int, length: int, like: Tensor) -> AttentionState:
    """Empty caches with room for `length` tokens, for a stack of attention layers."""
    shape = (layers, batch, heads, length, head_width(width, heads))
    keys, values = like.new_zeros(shape), like.new_zeros(shape)
    return AttentionState([Cache(*layer) for layer in zip(keys, values, strict=True)], 0)


def head_width(width: int, heads: int) -> int:
    """K: D / H, rounded up to an even number."""
    return 2 * -(-width // (2 * at_least_one("heads", heads)))


def attention_flops(width: int, heads: int, length: int, square: bool) -> float:
    """2·4·D·H·K for the four projections, and 4·H·K·T over the whole square or 2·H·K·(T + 1), the mean of its causal half."""
    inner = heads * head_width(width, heads)
    return 8 * width * inner + (4 * inner * length if square else 2 * inner * (length + 1))


def rotary(start: int, end: int, head_width: int, like: Tensor, base: float = 10_000.0) -> Tensor:
    """Angles of rotary positions (Su et al. 2021, arXiv:2104.09864) as cosines beside sines, (T, K).

    Counted in float32 whatever `like` is: in bfloat16 the angles of far positions would fall together.
    """
    frequencies = base ** -torch.arange(0, 1, 2 / head_width, dtype=torch.float32, device=like.device)  # (K/2)
    angles = torch.outer(torch.arange(start, end, dtype=torch.float32, device=like.device), frequencies)  # (T, K/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(like.dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the pairs (i, i + K/2) of each head by its position's angles, (B, H, T, K) -> (B, H, T, K)."""
    cosine, sine = rotation.chunk(2, dim=-1)  # each (T, K/2)
    first, second = x.chunk(2, dim=-1)  # each (B, H, T, K/2)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def sinusoids(start: int, end: int, like: Tensor) -> Tensor:
    """Positions as waves of geometrically growing length (Vaswani et al. 2017, section 3.5), (T, D): sines, then cosines."""
    width = like.shape[-1]
    frequencies = 10_000.0 ** -torch.arange(0, 1, 2 / width, dtype=torch.float32, device=like.device)  # (ceil(D/2))
    angles = torch.outer(torch.arange(start, end, dtype=torch.float32, device=like.device), frequencies)  # (T, ceil(D/2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].to(like.dtype)  # (T, D): an odd D lacks one cosine


def learned_positions(table: nn.Embedding, start: int, end: int, owner: Any) -> Tensor:
    """Rows start … end of a table of positions, (T, D). Raises ValueError beyond the table."""
    if end > table.num_embeddings:
        name, rows = type(owner).__name__, table.num_embeddings
        raise ValueError(f"{name} learned positions for its context of {rows} tokens, and cannot read token {end}")
    return table.weight[start:end]


def at_least_one(name: str, value: int) -> int:
    """The value, or ValueError where it is no count."""
    if value < 1:
        raise ValueError(f"{name}={value} must be at least 1")
    return value
