"""The mLSTM, a layer with a matrix memory: gated attention in chunks, a state between them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive

LIMIT = 15.0  # gates are bent into ±15 before their exponential, so that none overflows


class MatrixMemory(NamedTuple):
    """Sums over the past, all divided by exp(largest)."""

    matrix: Tensor  # (B, H, K, V): values by keys
    keys: Tensor  # (B, H, K)
    largest: Tensor  # (B, H)


class MLSTM(nn.Module):
    """The layer of xLSTM-7B (Beck et al. 2025, arXiv:2503.13427), (B, T, D) -> (B, T, D).

    Values are V = D / H wide and keys K = V / 2, both rounded up.
    """

    def __init__(self, width: int, heads: int, chunk: int) -> None:
        super().__init__()
        self.heads, self.chunk = require_positive("heads", heads), require_positive("chunk", chunk)
        self.value_width = -(-width // heads)
        self.key_width = -(-self.value_width // 2)
        self.sizes = [heads * self.key_width] * 2 + [heads * self.value_width] * 2
        # queries, keys, values and output gates in one product
        self.into = nn.Linear(width, sum(self.sizes), bias=False)
        self.gates = nn.Linear(width, 2 * heads)  # input gates, then forget gates
        self.norm = nn.Parameter(torch.ones(self.sizes[-1]))  # of a LayerNorm per head, no biases
        self.out = nn.Linear(self.sizes[-1], width, bias=False)

    def forward(self, x: Tensor, memory: MatrixMemory | None) -> tuple[Tensor, MatrixMemory | None]:
        queries, keys, values, output_gate = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.into(x).split(self.sizes, dim=2)
        )  # (B, H, T, K) twice, (B, H, T, V) twice
        gates = LIMIT * torch.tanh(self.gates(x) / LIMIT)
        enter, keep = gates.transpose(1, 2).chunk(2, dim=1)  # each (B, H, T)
        inputs = (queries * self.key_width**-0.5, keys, values, enter, keep)
        mixed, memory = mlstm(inputs, memory, self.chunk)
        normed = functional.layer_norm(mixed, mixed.shape[-1:], eps=1e-6)
        gated = torch.sigmoid(output_gate) * normed * self.norm.view(self.heads, 1, -1)
        return self.out(gated.transpose(1, 2).flatten(2)), memory  # (B, H, T, V) -> (B, T, D)

    def init_state(self, batch: int, like: Tensor) -> MatrixMemory:
        """Return an empty memory, in float32 at least."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        largest = like.new_zeros(batch, self.heads, dtype=dtype)
        keys = largest.new_zeros(batch, self.heads, self.key_width)
        matrix = largest.new_zeros(batch, self.heads, self.key_width, self.value_width)
        return MatrixMemory(matrix, keys, largest)

    @torch.no_grad()
    def initialise(self) -> None:
        """Set gates as in xLSTM-7B: equal for all tokens, little enters, heads keep ever more."""
        self.gates.weight.zero_()
        self.gates.bias[: self.heads] = -10.0
        self.gates.bias[self.heads :] = torch.linspace(3.0, 6.0, self.heads)

    def flops(self, length: int, full_mask: bool) -> float:
        """Count per token: 2·D·(2·H·K + 3·H·V + 2·H) for the maps, and per head the memory.

        That compares a token with (L + 1)/2 of its chunk of L tokens (L over the full square),
        2·(K + V) each, and between chunks reads and writes K × V: 2·K·(V + 1) and 2·K·V.
        """
        maps = 2 * self.into.in_features * (sum(self.sizes) + self.sizes[-1] + 2 * self.heads)
        key, value, chunk = self.key_width, self.value_width, min(self.chunk, length)
        rest = length % chunk  # the last chunk is shorter
        square = (length - rest) * chunk + rest**2
        pairs = square if full_mask else (square + length) / 2
        # tokens that have a chunk before them, or one after
        read, written = length - chunk, length - (rest or chunk)
        memory = pairs * (key + value) + read * key * (value + 1) + written * key * value
        return maps + 2 * self.heads * memory / length


def mlstm(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], memory: MatrixMemory | None, chunk: int
) -> tuple[Tensor, MatrixMemory | None]:
    """Apply exponential gating (Beck et al. 2024, arXiv:2405.04517, equations 19 to 27).

    `inputs`: queries, already divided by √K, and keys, (B, H, T, K); values (B, H, T, V); input and
    forget gates, (B, H, T), before their exponential and sigmoid. Token by token and chunk by chunk
    are the same. Without a memory the text starts here, and none is returned.
    """
    streams = _chunk_streams(inputs, chunk)
    last, mixed = memory, []
    for i, (q, k, v, gate, decay) in enumerate(zip(*streams, strict=True)):
        ends = memory is None and i + 1 == len(streams[0])  # nothing continues the last chunk
        output, last = _mix_chunk((q, k, v), gate, decay.cumsum(2), last, not ends)
        mixed.append(output)
    joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2)
    return joined.to(inputs[2].dtype), None if memory is None else last


def _chunk_streams(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], chunk: int
) -> list[tuple[Tensor, ...]]:
    """Return the chunks of each input, in float32 at least; forget gates as logarithms."""
    *others, keep = inputs
    wide = torch.promote_types(inputs[2].dtype, torch.float32)
    return [
        stream.to(wide).split(chunk, dim=2) for stream in (*others, functional.logsigmoid(keep))
    ]


def _mix_chunk(
    inputs: tuple[Tensor, Tensor, Tensor],
    enter: Tensor,
    decayed: Tensor,
    past: MatrixMemory | None,
    carry: bool,
) -> tuple[Tensor, MatrixMemory | None]:
    """Mix one chunk; `decayed` (B, H, L): the log of what is left of a memory after each token.

    All sums are divided by exp(highest), which keeps them in range and cancels in the end: it
    needs no gradient. The next memory is None unless `carry`.
    """
    q, k, v = inputs
    strength = enter - decayed  # (B, H, L): as seen from the chunk's start
    highest, carried = _scales(strength, past)
    scores = (q @ k.mT) * _gates_between(strength, highest)
    top, bottom = _weighted_sums(q, v, scores, past, carried)
    # the second is 1, divided
    output = top / torch.maximum(bottom.abs(), (-decayed - highest).exp())[..., None]
    if not carry:
        return output, None
    shares = (strength - highest[..., -1:]).exp()
    largest = highest[..., -1] + decayed[..., -1]
    return output, _next_memory(k * shares[..., None], v, past, carried[..., -1], largest)


def _scales(strength: Tensor, past: MatrixMemory | None) -> tuple[Tensor, Tensor]:
    """Return the largest exponent up to each token, and what is left of the past, divided.

    Both (B, H, L); the first without gradient.
    """
    before = torch.zeros_like(strength[..., :1]) if past is None else past.largest[..., None]
    highest = torch.maximum(strength.cummax(dim=2).values, before).detach()
    return highest, (before - highest).exp()


def _weighted_sums(
    q: Tensor, v: Tensor, scores: Tensor, past: MatrixMemory | None, carried: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sums of weighted values, (B, H, L, V), and of weights, (B, H, L)."""
    top, bottom = scores @ v, scores.sum(-1)
    if past is not None:
        top = top + carried[..., None] * (q @ past.matrix)
        bottom = bottom + carried * (q @ past.keys[..., None])[..., 0]
    return top, bottom


def _next_memory(
    weighted: Tensor, v: Tensor, past: MatrixMemory | None, left: Tensor, largest: Tensor
) -> MatrixMemory:
    """Return the memory after a chunk: its keys, weighted, (B, H, L, K), and what is left, (B, H).

    `left` is the share of the past that remains.
    """
    matrix, total = weighted.mT @ v, weighted.sum(2)
    if past is not None:
        matrix = matrix + left[..., None, None] * past.matrix
        total = total + left[..., None] * past.keys
    return MatrixMemory(matrix, total, largest)


def _gates_between(strength: Tensor, highest: Tensor) -> Tensor:
    """Return the weight of each earlier token for each token, divided, (B, H, L, L)."""
    length = strength.shape[2]
    future = torch.ones(length, length, dtype=torch.bool, device=strength.device).triu(1)
    gates = strength[:, :, None, :] - highest[..., None]
    return gates.masked_fill(future, float("-inf")).exp()
