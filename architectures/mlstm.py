"""The matrix memory of an mLSTM, in chunks: inside a chunk it is attention with gates, between chunks a state goes on."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Memory(NamedTuple):
    """Sums over the past, all divided by exp(largest): values by keys (B, H, K, V), keys (B, H, K), and largest (B, H)."""

    matrix: Tensor
    keys: Tensor
    largest: Tensor


def init_memory(batch: int, heads: int, key_width: int, value_width: int, like: Tensor) -> Memory:
    """An empty memory, in float32 at least."""
    wide = like.new_zeros(batch, heads, dtype=torch.promote_types(like.dtype, torch.float32))
    return Memory(wide.new_zeros(batch, heads, key_width, value_width), wide.new_zeros(batch, heads, key_width), wide)


def mlstm(
    queries: Tensor, keys: Tensor, values: Tensor, enter: Tensor, keep: Tensor, memory: Memory | None, chunk: int
) -> tuple[Tensor, Memory | None]:
    """Exponential gating (Beck et al. 2024, arXiv:2405.04517, equations 19 to 27), token by token or in chunks: the same.

    queries and keys (B, H, T, K), the queries already divided by √K; values (B, H, T, V); `enter` and `keep` (B, H, T) are
    the gates before their exponential and their sigmoid. Without a memory the text starts here, and none is returned.
    """
    wide = torch.promote_types(queries.dtype, torch.float32)
    streams = [stream.to(wide).split(chunk, dim=2) for stream in (queries, keys, values, enter, functional.logsigmoid(keep))]
    last, mixed = memory, []
    for i, (q, k, v, gate, decay) in enumerate(zip(*streams, strict=True)):
        ends = memory is None and i + 1 == len(streams[0])  # nothing goes on from the last chunk
        output, last = _chunk(q, k, v, gate, decay.cumsum(2), last, not ends)
        mixed.append(output)
    return (mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)).to(values.dtype), None if memory is None else last


def _chunk(
    q: Tensor, k: Tensor, v: Tensor, enter: Tensor, decayed: Tensor, past: Memory | None, go_on: bool
) -> tuple[Tensor, Memory | None]:
    """One chunk. `decayed` (B, H, L): the logarithm of what is left, after each token, of a memory from before the chunk.

    All sums are divided by exp(highest), which keeps them in range and cancels in the end: it needs no gradient.
    """
    length = q.shape[2]
    strength = enter - decayed  # (B, H, L): of each token, seen from the start of the chunk
    before = torch.zeros_like(strength[..., :1]) if past is None else past.largest[..., None]
    highest = torch.maximum(strength.cummax(dim=2).values, before).detach()  # (B, H, L)
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    gates = (strength[:, :, None, :] - highest[..., None]).masked_fill(future, float("-inf")).exp()  # (B, H, L, L)
    scores = (q @ k.mT) * gates
    top, bottom = scores @ v, scores.sum(-1)  # (B, H, L, V) and (B, H, L)
    carried = (before - highest).exp()  # (B, H, L): what is left of the past, divided
    if past is not None:
        top = top + carried[..., None] * (q @ past.matrix)
        bottom = bottom + carried * (q @ past.keys[..., None])[..., 0]
    one = (-decayed - highest).exp()  # what 1 is when it is divided
    output = top / torch.maximum(bottom.abs(), one)[..., None]
    if not go_on:
        return output, None
    weighted = k * (strength - highest[..., -1:]).exp()[..., None]  # (B, H, L, K)
    matrix, total = weighted.mT @ v, weighted.sum(2)
    if past is not None:
        left = carried[..., -1]
        matrix, total = matrix + left[..., None, None] * past.matrix, total + left[..., None] * past.keys
    return output, Memory(matrix, total, highest[..., -1] + decayed[..., -1])
