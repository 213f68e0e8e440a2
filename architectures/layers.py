"""What two or more architectures share: a norm, attention with a cache, positions that rotate or are learned."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

NOTHING: dict[str, Any] = {}


class LightModule(nn.Module):
    """A module at half of torch's cost, which counts where one token is written.

    Its own hooks are looked for, and whether it was compiled; hooks of all modules of the process (`torch.nn.modules.module`)
    are not. Parts are read where they lie.
    """

    def __call__(self, *given: Any, **named: Any) -> Any:
        hooked = (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
        )
        if hooked or self._compiled_call_impl is not None:
            return super().__call__(*given, **named)
        return self.forward(*given, **named)

    def __getattr__(self, name: str) -> Any:
        part = self.__dict__.get("_modules", NOTHING).get(name)
        return super().__getattr__(name) if part is None else part


class RMSNorm(LightModule, nn.RMSNorm):
    """Zhang & Sennrich 2019, arXiv:1910.07467. The weight follows the input's precision: else autocast loses the fused kernel."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        weight: Any = self._parameters["weight"]
        return torch.rms_norm(
            x,
            self.normalized_shape,
            weight if x.dtype == weight.dtype else weight.to(x.dtype),
            self.eps,
        )


class Linear(LightModule, nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        kept = self._parameters
        return functional.linear(x, kept["weight"], kept["bias"])  # type: ignore[arg-type]


class LayerNorm(LightModule, nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        kept = self._parameters
        return torch.layer_norm(x, self.normalized_shape, kept["weight"], kept["bias"], self.eps)


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout of a share in training. A function: a module would cost a call for each token that is written."""
    return functional.dropout(x, share) if training and share else x


class Cache(NamedTuple):
    """Keys and values seen so far, written in place: each (B, H, N, K), of which the first `position` are filled."""

    keys: Tensor
    values: Tensor


class AttentionState(NamedTuple):
    """The state of a causal stack of attention layers: a cache for each layer, and how many tokens they hold."""

    caches: list[Cache]
    position: int


class Attention(LightModule):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), causal or not, (B, T, D) -> (B, T, D).

    Heads are K = D / H wide, rounded up to an even number, so that any width is accepted (an inner width H·K apart from
    D is GPT-3's and Gemma's freedom too); where 2H divides D, H·K = D as in the paper. `window`: a token sees that many
    tokens, itself the last of them (0: all), and a cache has exactly that room.
    """

    def __init__(
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
        self.into = Linear(
            width, 3 * heads * self.head_width, bias=bias
        )  # queries, keys and values in one product
        self.out = Linear(heads * self.head_width, width, bias=bias)
        # normed queries and keys keep the logits of attention bounded at high learning rates (arXiv:2010.04245)
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
        """Attend from each token of x. `rotation` (T, K): of `rotary`. `mask` (B, 1, 1, T): True where a key may be seen."""
        B, T, _ = x.shape
        queries, keys, values = self.split_heads(
            self.into(x), B, T
        )  # (B, T, 3·H·K) -> each (B, H, T, K)
        if self.normed:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        if self.window and (self.window < T or position > 0 or cache is not None):
            dropout = self.dropout if self.training else 0.0
            mixed = attend_window(
                self.window, queries, Cache(keys, values), cache, position, dropout
            )
            return self.out(
                mixed.transpose(1, 2).reshape(B, T, -1)
            )  # (B, H, T, K) -> (B, T, H·K) -> (B, T, D)
        if cache is not None:
            keys, values = append_to_cache(
                cache, position, keys, values
            )  # (B, H, position + T, K), views: nothing is copied
        if (
            position > 0 and T > 1
        ):  # several tokens on top of a state: token t sees the first position + t + 1 keys
            mask = torch.ones(T, position + T, dtype=torch.bool, device=x.device).tril(position)
        dropout, causal = (
            self.dropout if self.training else 0.0,
            self.causal and position == 0 and T > 1,
        )
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, mask, dropout, causal
        )
        # (B, H, T, K) -> (B, T, H·K) -> (B, T, D): one token lies so already
        return self.out((mixed if T == 1 else mixed.transpose(1, 2)).reshape(B, T, -1))

    def split_heads(self, mixed: Tensor, B: int, T: int) -> tuple[Tensor, ...]:
        """Queries, keys and values, (B, T, 3·H·K) -> each (B, H, T, K): views, whose gradients are put together in one pass."""
        if T == 1:  # lies in this order already
            return mixed.view(B, 3, self.heads, 1, self.head_width).unbind(1)
        queries, keys, values = mixed.view(B, T, 3, self.heads, self.head_width).unbind(2)
        return queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)


def append_to_cache(
    cache: Cache, position: int, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Write (B, H, T, K) behind the `position` tokens of a cache; returns views of all that is filled."""
    all_keys, all_values = cache
    end, room = position + keys.shape[2], all_keys.shape[2]
    if end > room:
        raise ValueError(
            f"the state has room for {room} tokens, and token {end} was given: ask init_state for a longer one"
        )
    all_keys.narrow(2, position, end - position).copy_(keys)
    all_values.narrow(2, position, end - position).copy_(values)
    return all_keys.narrow(2, 0, end), all_values.narrow(2, 0, end)


def attend_window(
    window: int,
    queries: Tensor,
    new: Cache,
    ring: Cache | None,
    position: int,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of T tokens to the last `window` ones each (Child et al. 2019, arXiv:1904.10509), (B, H, T, K).

    `new`: keys and values of these tokens. `ring`: those of the last `window` tokens before them, the token at position p in
    slot p % window; it is written to. In blocks of `window` tokens, each against itself and the block before it: time and
    memory grow linearly with T.
    """
    B, H, T, K = queries.shape
    if (
        ring is not None and T == 1
    ):  # the order of the slots does not matter: positions are in the keys
        _write_ring(window, new, ring, position)
        seen = min(position + 1, window)
        return functional.scaled_dot_product_attention(
            queries, ring.keys[:, :, :seen], ring.values[:, :, :seen]
        )
    blocks, spare = -(-T // window), -T % window
    i, j = (
        torch.arange(window, device=queries.device)[:, None],
        torch.arange(2 * window, device=queries.device),
    )
    mask = ((i < j) & (j <= i + window)).repeat(
        blocks, 1, 1
    )  # (blocks, window, 2·window): key j of the block before and of its own
    mask[0] &= j >= window - min(position, window)  # before the first token there is nothing

    def in_pairs(tokens: Tensor, past: Tensor | None) -> Tensor:
        before = (
            tokens.new_zeros(B, H, window, K)
            if past is None
            else past.roll(-(position % window), dims=2)
        )
        whole = functional.pad(
            torch.cat([before, tokens], dim=2), (0, 0, 0, spare)
        )  # (B, H, (1 + blocks)·window, K)
        each = whole.view(B * H, 1 + blocks, window, K)
        return torch.cat([each[:, :-1], each[:, 1:]], dim=2)  # (B·H, blocks, 2·window, K)

    keys, values = (
        in_pairs(new.keys, ring and ring.keys),
        in_pairs(new.values, ring and ring.values),
    )
    padded = functional.pad(queries, (0, 0, 0, spare)).reshape(B * H, blocks, window, K)
    mixed = functional.scaled_dot_product_attention(
        padded, keys, values, attn_mask=mask[None], dropout_p=dropout
    )
    if ring is not None:
        _write_ring(window, new, ring, position)
    return mixed.view(B, H, blocks * window, K)[:, :, :T]


def _write_ring(window: int, new: Cache, ring: Cache, position: int) -> None:
    """Write the last of T keys and values, (B, H, T, K), into their slots of a ring, (B, H, window, K)."""
    T = new.keys.shape[2]
    last = torch.arange(max(0, T - window), T, device=new.keys.device)
    for tokens, kept in zip(new, ring, strict=True):
        kept[:, :, (position + last) % window] = tokens[:, :, last].to(kept.dtype)


def init_attention_state(
    layers: int, heads: int, width: int, batch: int, length: int, like: Tensor
) -> AttentionState:
    """Empty caches with room for `length` tokens, for a stack of attention layers."""
    shape = (layers, batch, heads, length, head_width(width, heads))
    keys, values = like.new_zeros(shape), like.new_zeros(shape)
    return AttentionState([Cache(*layer) for layer in zip(keys, values, strict=True)], 0)


def head_width(width: int, heads: int) -> int:
    """K: D / H, rounded up to an even number."""
    return 2 * -(-width // (2 * require_positive("heads", heads)))


def attention_flops(width: int, heads: int, length: int, square: bool, window: int = 0) -> float:
    """2·4·D·H·K for the four projections, and 4·H·K for each key that a token is compared with.

    Keys a token: T over the whole square; (T + 1)/2, the mean of its causal half; with a window W < T of the last W tokens
    W - W·(W - 1)/2T, and in the blocks that are computed 2·W (T rounded up to whole blocks).
    """
    inner = heads * head_width(width, heads)
    if window and window < length:
        keys = (
            2 * window * -(-length // window) * window / length
            if square
            else window - window * (window - 1) / (2 * length)
        )
    else:
        keys = length if square else (length + 1) / 2
    return 8 * width * inner + 4 * inner * keys


def rotary(start: int, end: int, head_width: int, like: Tensor, base: float = 10_000.0) -> Tensor:
    """Angles of rotary positions (Su et al. 2021, arXiv:2104.09864) as cosines beside sines, (T, K).

    Counted in float32 whatever `like` is: in bfloat16 the angles of far positions would fall together.
    """
    frequencies = base ** -torch.arange(
        0, 1, 2 / head_width, dtype=torch.float32, device=like.device
    )  # (K/2)
    angles = torch.outer(
        torch.arange(start, end, dtype=torch.float32, device=like.device), frequencies
    )  # (T, K/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(like.dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn the pairs (i, i + K/2) of each head by its position's angles, (B, H, T, K) -> (B, H, T, K)."""
    cosine, sine = rotation.chunk(2, dim=-1)  # each (T, K/2)
    first, second = x.chunk(2, dim=-1)  # each (B, H, T, K/2)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


def sinusoids(start: int, end: int, like: Tensor) -> Tensor:
    """Positions as waves of geometrically growing length (Vaswani et al. 2017, section 3.5), (T, D): sines, then cosines."""
    width = like.shape[-1]
    frequencies = 10_000.0 ** -torch.arange(
        0, 1, 2 / width, dtype=torch.float32, device=like.device
    )  # (ceil(D/2))
    angles = torch.outer(
        torch.arange(start, end, dtype=torch.float32, device=like.device), frequencies
    )  # (T, ceil(D/2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width].to(
        like.dtype
    )  # (T, D): an odd D lacks one cosine


def learned_positions(table: nn.Embedding, start: int, end: int, owner: Any) -> Tensor:
    """Rows start … end of a table of positions, (T, D). Raises ValueError beyond the table."""
    if end > table.num_embeddings:
        name, rows = type(owner).__name__, table.num_embeddings
        raise ValueError(
            f"{name} learned positions for its context of {rows} tokens, and cannot read token {end}"
        )
    return table.weight.narrow(0, start, end - start)


def require_positive(name: str, value: int) -> int:
    """The value, or ValueError where it is no count."""
    if value < 1:
        raise ValueError(f"{name}={value} must be at least 1")
    return value
