"""Attend to a sliding window of tokens, in blocks or through a ring of keys and values."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Cache(NamedTuple):
    """Keys and values, written in place: each (B, H, N, K), the first `position` are filled."""

    keys: Tensor
    values: Tensor


def attend_window(
    window: int,
    queries: Tensor,
    new: Cache,
    ring: Cache | None,
    position: int,
    dropout: float = 0.0,
) -> Tensor:
    """Attend from T tokens to the last `window` ones each, (B, H, T, K).

    Child et al. 2019, arXiv:1904.10509. `new`: keys and values of these tokens. `ring`: those of
    the `window` tokens before them, the token at position p in slot p % window; it is written to.
    Blocks of `window` tokens attend to themselves and the block before: time and memory grow
    linearly with T.
    """
    if (
        ring is not None and queries.shape[2] == 1
    ):  # any order of slots will do: positions are in the keys
        _write_ring(window, new, ring, position)
        return _attend_ring(queries, ring, min(position + 1, window))
    keys, values = (
        _in_block_pairs(tokens, None if ring is None else ring[i], window, position)
        for i, tokens in enumerate(new)
    )
    mixed = _attend_blocks(queries, Cache(keys, values), window, position, dropout)
    if ring is not None:
        _write_ring(window, new, ring, position)
    return mixed


def _attend_blocks(
    queries: Tensor, pairs: Cache, window: int, position: int, dropout: float
) -> Tensor:
    """Attend from each block to its pair of blocks, (B, H, T, K)."""
    B, H, T, K = queries.shape
    blocks, spare = -(-T // window), -T % window
    padded = functional.pad(queries, (0, 0, 0, spare)).reshape(B * H, blocks, window, K)
    mask = _block_mask(window, blocks, position, queries.device)[None]
    mixed = functional.scaled_dot_product_attention(
        padded, pairs.keys, pairs.values, attn_mask=mask, dropout_p=dropout
    )
    return mixed.view(B, H, blocks * window, K)[:, :, :T]


def _attend_ring(queries: Tensor, ring: Cache, seen: int) -> Tensor:
    """Attend from a single token to the first `seen` slots of a ring, (B, H, 1, K)."""
    return functional.scaled_dot_product_attention(
        queries, ring.keys[:, :, :seen], ring.values[:, :, :seen]
    )


def _in_block_pairs(tokens: Tensor, ring: Tensor | None, window: int, position: int) -> Tensor:
    """Return each block behind the block before it, (B, H, T, K) -> (B·H, n, 2·window, K)."""
    B, H, T, K = tokens.shape
    blocks, spare = -(-T // window), -T % window
    if ring is None:
        before = tokens.new_zeros(B, H, window, K)
    else:
        before = ring.roll(-(position % window), dims=2)
    joined = functional.pad(torch.cat([before, tokens], dim=2), (0, 0, 0, spare))
    each = joined.view(B * H, 1 + blocks, window, K)
    return torch.cat([each[:, :-1], each[:, 1:]], dim=2)


def _block_mask(window: int, blocks: int, position: int, device: torch.device) -> Tensor:
    """Return which keys of both blocks a token sees, (n, window, 2·window)."""
    i, j = torch.arange(window, device=device)[:, None], torch.arange(2 * window, device=device)
    mask = ((i < j) & (j <= i + window)).repeat(blocks, 1, 1)
    mask[0] &= j >= window - min(position, window)  # nothing precedes the first token
    return mask


def _write_ring(window: int, new: Cache, ring: Cache, position: int) -> None:
    """Write the last of T keys and values, (B, H, T, K), into their slots of a ring."""
    T = new.keys.shape[2]
    last = torch.arange(max(0, T - window), T, device=new.keys.device)
    for tokens, slots in zip(new, ring, strict=True):
        slots[:, :, (position + last) % window] = tokens[:, :, last].to(slots.dtype)
