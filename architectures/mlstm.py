"""The mLSTM, a layer with a matrix memory, in chunks: inside one it is attention with gates, between them a state goes on."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive

LIMIT = 15.0  # gates are bent into ±15 before their exponential, so that none runs away


class Memory(NamedTuple):
    """Sums over the past, all divided by exp(largest): values by keys (B, H, K, V), keys (B, H, K), and largest (B, H)."""

    matrix: Tensor
    keys: Tensor
    largest: Tensor


class MLSTM(nn.Module):
    """The layer of xLSTM-7B (Beck et al. 2025, arXiv:2503.13427)

    (B, T, D) -> (B, T, D), with values V = D / H wide and keys K = V / 2, both rounded up.
    """

    def __init__(self, width: int, heads: int, chunk: int) -> None:
        super().__init__()
        self.heads, self.chunk = require_positive("heads", heads), require_positive("chunk", chunk)
        self.value_width = -(-width // heads)
        self.key_width = -(-self.value_width // 2)
        self.sizes = [heads * self.key_width] * 2 + [heads * self.value_width] * 2
        self.into = nn.Linear(
            width, sum(self.sizes), bias=False
        )  # queries, keys, values and output gates in one product
        self.gates = nn.Linear(width, 2 * heads)  # of what enters, then of what is kept
        self.norm = nn.Parameter(
            torch.ones(self.sizes[-1])
        )  # of a LayerNorm over each head, without biases
        self.out = nn.Linear(self.sizes[-1], width, bias=False)

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory | None]:
        parts = [
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.into(x).split(self.sizes, dim=2)
        ]
        queries, keys, values, output_gate = parts  # (B, H, T, K) twice, (B, H, T, V) twice
        enter, keep = (
            (LIMIT * torch.tanh(self.gates(x) / LIMIT)).transpose(1, 2).chunk(2, dim=1)
        )  # each (B, H, T)
        mixed, memory = mlstm(
            queries * self.key_width**-0.5, keys, values, enter, keep, memory, self.chunk
        )
        normed = functional.layer_norm(mixed, mixed.shape[-1:], eps=1e-6)
        gated = torch.sigmoid(output_gate) * normed * self.norm.view(self.heads, 1, -1)
        return self.out(
            gated.transpose(1, 2).flatten(2)
        ), memory  # (B, H, T, V) -> (B, T, H·V) -> (B, T, D)

    def init_state(self, batch: int, like: Tensor) -> Memory:
        return init_memory(batch, self.heads, self.key_width, self.value_width, like)

    @torch.no_grad()
    def initialise(self) -> None:
        """Gates as in xLSTM-7B: the same for every token at first, little enters, and much is kept, from head to head more."""
        self.gates.weight.zero_()
        self.gates.bias[: self.heads] = -10.0
        self.gates.bias[self.heads :] = torch.linspace(3.0, 6.0, self.heads)

    def flops(self, length: int, full_mask: bool) -> float:
        """A token: 2·D·(2·H·K + 3·H·V + 2·H) for the maps, and for each head the memory.

        That compares a token with (L + 1)/2 of its chunk of L tokens (L over the whole square), 2·(K + V) each, and between
        chunks reads and writes K × V: 2·K·(V + 1) and 2·K·V.
        """
        maps = 2 * self.into.in_features * (sum(self.sizes) + self.sizes[-1] + 2 * self.heads)
        key, value, chunk = self.key_width, self.value_width, min(self.chunk, length)
        rest = length % chunk  # the last chunk is shorter
        square = (length - rest) * chunk + rest**2
        pairs = square if full_mask else (square + length) / 2
        read, written = (
            length - chunk,
            length - (rest or chunk),
        )  # tokens that have a chunk before them, or one after
        return (
            maps
            + 2
            * self.heads
            * (pairs * (key + value) + read * key * (value + 1) + written * key * value)
            / length
        )


def init_memory(batch: int, heads: int, key_width: int, value_width: int, like: Tensor) -> Memory:
    """An empty memory, in float32 at least."""
    wide = like.new_zeros(batch, heads, dtype=torch.promote_types(like.dtype, torch.float32))
    return Memory(
        wide.new_zeros(batch, heads, key_width, value_width),
        wide.new_zeros(batch, heads, key_width),
        wide,
    )


def mlstm(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    enter: Tensor,
    keep: Tensor,
    memory: Memory | None,
    chunk: int,
) -> tuple[Tensor, Memory | None]:
    """Exponential gating (Beck et al. 2024, arXiv:2405.04517, equations 19 to 27), token by token or in chunks: the same.

    queries and keys (B, H, T, K), the queries already divided by √K; values (B, H, T, V); `enter` and `keep` (B, H, T) are
    the gates before their exponential and their sigmoid. Without a memory the text starts here, and none is returned.
    """
    wide = torch.promote_types(queries.dtype, torch.float32)
    streams = [
        stream.to(wide).split(chunk, dim=2)
        for stream in (queries, keys, values, enter, functional.logsigmoid(keep))
    ]
    last, mixed = memory, []
    for i, (q, k, v, gate, decay) in enumerate(zip(*streams, strict=True)):
        ends = memory is None and i + 1 == len(streams[0])  # nothing goes on from the last chunk
        output, last = _chunk(q, k, v, gate, decay.cumsum(2), last, not ends)
        mixed.append(output)
    return (mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)).to(
        values.dtype
    ), None if memory is None else last


def _chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    enter: Tensor,
    decayed: Tensor,
    past: Memory | None,
    go_on: bool,
) -> tuple[Tensor, Memory | None]:
    """One chunk. `decayed` (B, H, L): the logarithm of what is left, after each token, of a memory from before the chunk.

    All sums are divided by exp(highest), which keeps them in range and cancels in the end: it needs no gradient.
    """
    length = q.shape[2]
    strength = enter - decayed  # (B, H, L): of each token, seen from the start of the chunk
    before = torch.zeros_like(strength[..., :1]) if past is None else past.largest[..., None]
    highest = torch.maximum(strength.cummax(dim=2).values, before).detach()  # (B, H, L)
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    gates = (
        (strength[:, :, None, :] - highest[..., None]).masked_fill(future, float("-inf")).exp()
    )  # (B, H, L, L)
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
        matrix, total = (
            matrix + left[..., None, None] * past.matrix,
            total + left[..., None] * past.keys,
        )
    return output, Memory(matrix, total, highest[..., -1] + decayed[..., -1])
