"""Linear attention with decay, in chunks: a recurrence over time as a few matrix products, and what it leaves behind."""

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
    """y_t = S_tᵀ·q_t with S_t = exp(g_t)·S_{t-1} + k_t·v_tᵀ, for each head by itself.

    Queries and keys (B, T, H, K), or (B, T, 1, K) where all heads share them; values (B, T, H, V); decays g (B or 1, T, H)
    of a head or (B, T, H, K) of each row of its matrix, in logarithms, at most 0; the state S (B, H, K, V), or None for zeros.
    Returns y (B, T, H, V) and the next state, or None where none was given.

    Within a chunk every pair of tokens is weighed by the decay between them, from chunk to chunk a matrix is carried on
    (Dao & Gu 2024, arXiv:2405.21060, section 6). Only decays between an earlier and a later moment are ever taken out of
    the logarithm, so nothing overflows and nothing is divided by what has vanished.
    """
    one_a_head, length = decays.dim() == 3, queries.shape[1]
    count, size = chunks(length, chunk, halving=not one_a_head)
    queries, keys, values = (
        into_chunks(each, count, size) for each in (queries, keys, values)
    )  # (B, n, H, C, K or V)
    since = into_chunks(decays.unsqueeze(-1) if one_a_head else decays, count, size).cumsum(
        -2
    )  # (B, n, H, C, 1 or K)
    mixed = (
        mix_pairs(queries, keys, values, since)
        if one_a_head
        else mix_by_halves(queries, keys, values, since)
    )
    if state is None and count == 1:
        return out_of_chunks(mixed, length), None
    until = since[..., -1:, :]  # the decay of the whole chunk
    added = (keys * (until - since).exp()).mT @ values  # (B, n, H, K, V)
    before, after = carry_state(added, until.exp().mT, state)
    mixed = mixed + (queries * since.exp()) @ before
    return out_of_chunks(mixed, length), None if state is None else after


def in_float32(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that is computed in float32 under autocast: triangular systems are not solved in half precision, and lose by it."""

    @wraps(rule)
    def computed(*given: Any) -> Any:
        device = given[0].device.type
        if not torch.is_autocast_enabled(device):
            return rule(*given)
        with torch.autocast(device, enabled=False):
            return rule(*(each.float() if isinstance(each, Tensor) else each for each in given))

    return computed


def chunks(length: int, chunk: int, halving: bool = False) -> tuple[int, int]:
    """How many chunks of at most `chunk` tokens, and how long each is: as even as can be, or a power of two for `halving`."""
    count = -(-length // chunk)
    size = -(-length // count)
    return count, 1 << (size - 1).bit_length() if halving else size


def into_chunks(x: Tensor, count: int, size: int) -> Tensor:
    """(B, T, H, K) -> (B, n, H, C, K), filled up with zeros: these add nothing to a state, and do not decay it."""
    if x.shape[1] < count * size:
        x = functional.pad(x, (0, 0, 0, 0, 0, count * size - x.shape[1]))
    return x.unflatten(1, (count, size)).transpose(2, 3)


def out_of_chunks(x: Tensor, length: int) -> Tensor:
    """(B, n, H, C, V) -> (B, T, H, V)."""
    return x.transpose(2, 3).flatten(1, 2)[:, :length]


def mix_pairs(queries: Tensor, keys: Tensor, values: Tensor, since: Tensor) -> Tensor:
    """What the tokens of a chunk get from each other, with one decay a head: (B, n, H, C, V)."""
    return (queries @ keys.mT * decays_between(since)) @ values


def decays_between(since: Tensor) -> Tensor:
    """From each token of a chunk to each later one, 1 to itself and 0 to earlier ones: (B, n, H, C, 1) -> (B, n, H, C, C)."""
    size = since.shape[-2]
    later = torch.full((size, size), -math.inf, dtype=since.dtype, device=since.device).triu(
        1
    )  # (C, C)
    return (since - since.mT).add_(later).exp_()


def mix_by_halves(queries: Tensor, keys: Tensor, values: Tensor, since: Tensor) -> Tensor:
    """The same where each row of a head's matrix has a decay of its own: C must be a power of two.

    The second half of a chunk looks at the first by one product, in which both sides decay towards the border between
    them; then each half does so within itself, down to single tokens. (The blocks of Yang et al. 2023, arXiv:2312.06635,
    section 4.3, halved until nothing is left: no pair is ever related to a moment outside it, so no factor exceeds 1.)
    """
    mixed, half = (queries * keys).sum(-1, keepdim=True) * values, since.shape[-2] // 2
    while half:
        pairs = [
            each.unflatten(-2, (-1, 2, half)) for each in (queries, keys, values, since, mixed)
        ]
        asking, asked, said = (
            pairs[0][..., 1, :, :],
            pairs[1][..., 0, :, :],
            pairs[2][..., 0, :, :],
        )  # (..., half, K or V)
        before, after, onwards = (
            pairs[3][..., 0, :, :],
            pairs[3][..., 1, :, :],
            pairs[4][..., 1, :, :],
        )
        border = before[..., -1:, :]
        scores = (asking * (after - border).exp()) @ (
            asked * (border - before).exp()
        ).mT  # (..., half, half)
        onwards += scores @ said  # a view: this fills `mixed`
        half //= 2
    return mixed


def carry_state(added: Tensor, decay: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """The state before each chunk, (B, n, H, K, V), and after the last, from what each adds; decay (B, n, H, 1 or K, 1)."""
    current = torch.zeros_like(added[:, 0]) if state is None else state
    before = []
    for index in range(added.shape[1]):
        before.append(current)
        current = decay[:, index] * current + added[:, index]
    return torch.stack(before, dim=1), current


def linear_attention_flops(
    length: int,
    chunk: int,
    key_heads: int,
    heads: int,
    key_width: int,
    value_width: int,
    full_mask: bool,
    halving: bool = False,
) -> float:
    """A token of `linear_attention` without a state: 2·(H_k·K + H·V) for each token of its chunk that it is compared with,
    and where there are several chunks 4·H·K·V for the states.

    Of a chunk of C tokens these are C over the whole square, (C + 1)/2 in its causal half, and `halving` (C - 1)/2.
    """
    count, size = chunks(length, chunk, halving)
    compared = (size - 1) / 2 if halving else size if full_mask else (size + 1) / 2
    pairs = 2 * (key_heads * key_width + heads * value_width) * compared
    return (
        (pairs + (4 * heads * key_width * value_width if count > 1 else 0)) * count * size / length
    )
