"""Linear attention with decay, in chunks: a recurrence over time as a few matrix products."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def linear_attention(
    queries: Tensor, keys: Tensor, values: Tensor, decays: Tensor, state: Tensor | None, chunk: int
) -> tuple[Tensor, Tensor | None]:
    """Return y_t = S_tᵀ·q_t with S_t = exp(g_t)·S_{t-1} + k_t·v_tᵀ per head, and the next state.

    Queries and keys (B, T, H, K), or (B, T, 1, K) where all heads share them; values (B, T, H, V);
    decays g, in logarithms, at most 0: (B or 1, T, H) per head, or (B, T, H, K) per row of its
    matrix; the state S (B, H, K, V), or None for zeros. y is (B, T, H, V); the next state is None
    where none was given.

    Within a chunk every pair of tokens is weighed by the decay between them, from chunk to chunk a
    matrix is carried (Dao & Gu 2024, arXiv:2405.21060, section 6). Only decays from an earlier to a
    later token leave the logarithm: nothing overflows, nothing is divided by what underflowed.
    """
    per_head, length = decays.dim() == 3, queries.shape[1]
    count, size = chunks(length, chunk, halving=not per_head)
    # (B, n, H, C, K or V)
    queries, keys, values = (into_chunks(each, count, size) for each in (queries, keys, values))
    decays = decays.unsqueeze(-1) if per_head else decays
    since = into_chunks(decays, count, size).cumsum(-2)  # (B, n, H, C, 1 or K)
    mixed = (mix_pairs if per_head else mix_by_halves)(queries, keys, values, since)
    if state is None and count == 1:
        return out_of_chunks(mixed, length), None
    before, after = states_between(keys, values, since, state)
    mixed = mixed + (queries * since.exp()) @ before
    return out_of_chunks(mixed, length), None if state is None else after


def in_float32(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Compute a rule in float32 under autocast: half precision has no triangular solve."""

    @wraps(rule)
    def computed(*given: Any) -> Any:
        device = given[0].device.type
        if not torch.is_autocast_enabled(device):
            return rule(*given)
        with torch.autocast(device, enabled=False):
            return rule(*(each.float() if isinstance(each, Tensor) else each for each in given))

    return computed


def chunks(length: int, chunk: int, halving: bool = False) -> tuple[int, int]:
    """Return the number of chunks of at most `chunk` tokens, and their length.

    Lengths are as even as can be, rounded up to a power of two for `halving`.
    """
    count = -(-length // chunk)
    size = -(-length // count)
    return count, 1 << (size - 1).bit_length() if halving else size


def into_chunks(x: Tensor, count: int, size: int) -> Tensor:
    """Cut (B, T, H, K) into (B, n, H, C, K), padded with zeros, which leave a state unchanged."""
    if x.shape[1] < count * size:
        x = functional.pad(x, (0, 0, 0, 0, 0, count * size - x.shape[1]))
    return x.unflatten(1, (count, size)).transpose(2, 3)


def out_of_chunks(x: Tensor, length: int) -> Tensor:
    """Join (B, n, H, C, V) to (B, T, H, V)."""
    return x.transpose(2, 3).flatten(1, 2)[:, :length]


def mix_pairs(queries: Tensor, keys: Tensor, values: Tensor, since: Tensor) -> Tensor:
    """Mix the tokens of a chunk with one decay per head, (B, n, H, C, V)."""
    return (queries @ keys.mT * decays_between(since)) @ values


def decays_between(since: Tensor) -> Tensor:
    """Return the decay from each token to each later one, (B, n, H, C, 1) -> (B, n, H, C, C).

    It is 1 from a token to itself, and 0 to earlier ones.
    """
    size, options = since.shape[-2], {"dtype": since.dtype, "device": since.device}
    later = torch.full((size, size), -math.inf, **options).triu(1)  # type: ignore[call-overload]
    return (since - since.mT).add_(later).exp_()


def mix_by_halves(queries: Tensor, keys: Tensor, values: Tensor, since: Tensor) -> Tensor:
    """Mix the tokens of a chunk of 2^i tokens with a decay per row of a head's matrix.

    The second half of a chunk reads the first by one product, in which both sides decay towards
    the border between them; then each half does so within itself, down to single tokens. (The
    blocks of Yang et al. 2023, arXiv:2312.06635, section 4.3, halved until nothing is left: no pair
    is related to a moment outside it, so no factor exceeds 1.)
    """
    mixed, half = (queries * keys).sum(-1, keepdim=True) * values, since.shape[-2] // 2
    while half:
        inputs = (queries, keys, values, since, mixed)
        q, k, v, s, m = (each.unflatten(-2, (-1, 2, half)) for each in inputs)
        border = s[..., 0, -1:, :]
        reading = q[..., 1, :, :] * (s[..., 1, :, :] - border).exp()  # (…, half, K)
        read = k[..., 0, :, :] * (border - s[..., 0, :, :]).exp()
        onwards = m[..., 1, :, :]  # a view: this fills `mixed`
        onwards += (reading @ read.mT) @ v[..., 0, :, :]
        half //= 2
    return mixed


def states_between(
    keys: Tensor, values: Tensor, since: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the state before each chunk, (B, n, H, K, V), and after the last."""
    until = since[..., -1:, :]  # the decay of the full chunk
    added = (keys * (until - since).exp()).mT @ values  # (B, n, H, K, V)
    return carry_state(added, until.exp().mT, state)


def carry_state(added: Tensor, decay: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the state before each chunk, (B, n, H, K, V), and after the last.

    `added`: what each chunk adds, (B, n, H, K, V); `decay` (B, n, H, 1 or K, 1).
    """
    current = torch.zeros_like(added[:, 0]) if state is None else state
    before = []
    for index in range(added.shape[1]):
        before.append(current)
        current = decay[:, index] * current + added[:, index]
    return torch.stack(before, dim=1), current


def linear_attention_flops(
    length: int,
    chunk: int,
    shape: tuple[int, int, int, int],
    full_mask: bool,
    halving: bool = False,
) -> float:
    """Count a token of `linear_attention` without a state; `shape`: H_k, H, K, V.

    2·(H_k·K + H·V) for each token of its chunk of C that it is compared with: C over the full
    square, (C + 1)/2 in its causal half, (C - 1)/2 with `halving`. Where there are several chunks
    4·H·K·V for the states.
    """
    key_heads, heads, key_width, value_width = shape
    count, size = chunks(length, chunk, halving)
    compared = (size - 1) / 2 if halving else size if full_mask else (size + 1) / 2
    pairs = 2 * (key_heads * key_width + heads * value_width) * compared
    states = 4 * heads * key_width * value_width if count > 1 else 0
    return (pairs + states) * count * size / length
