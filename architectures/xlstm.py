"""Extended long short-term memory: a matrix that exponential gates write to, in every layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.layers import RMSNorm, at_least_one
from architectures.mlstm import Memory, init_memory, mlstm
from architectures.transformer import SwiGLU, feed_width

LIMIT = 15.0  # gates are bent into ±15 before their exponential, so that none runs away


class MatrixMemory(nn.Module):
    """The mLSTM layer of xLSTM-7B, (B, T, D) -> (B, T, D): values V = D / H wide and keys K = V / 2, both rounded up."""

    def __init__(self, width: int, heads: int, chunk: int) -> None:
        super().__init__()
        self.heads, self.chunk = at_least_one("heads", heads), at_least_one("chunk", chunk)
        self.value_width = -(-width // heads)
        self.key_width = -(-self.value_width // 2)
        self.sizes = [heads * self.key_width] * 2 + [heads * self.value_width] * 2
        self.into = nn.Linear(width, sum(self.sizes), bias=False)  # queries, keys, values and output gates in one product
        self.gates = nn.Linear(width, 2 * heads)  # of what enters, then of what is kept
        self.norm = nn.Parameter(torch.ones(self.sizes[-1]))  # of a LayerNorm over each head, without biases
        self.out = nn.Linear(self.sizes[-1], width, bias=False)

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory | None]:
        parts = [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.into(x).split(self.sizes, dim=2)]
        queries, keys, values, output_gate = parts  # (B, H, T, K) twice, (B, H, T, V) twice
        enter, keep = (LIMIT * torch.tanh(self.gates(x) / LIMIT)).transpose(1, 2).chunk(2, dim=1)  # each (B, H, T)
        mixed, memory = mlstm(queries * self.key_width**-0.5, keys, values, enter, keep, memory, self.chunk)
        normed = functional.layer_norm(mixed, mixed.shape[-1:], eps=1e-6)
        gated = torch.sigmoid(output_gate) * normed * self.norm.view(self.heads, 1, -1)
        return self.out(gated.transpose(1, 2).flatten(2)), memory  # (B, H, T, V) -> (B, T, H·V) -> (B, T, D)

    def init_state(self, batch: int, like: Tensor) -> Memory:
        return init_memory(batch, self.heads, self.key_width, self.value_width, like)

    @torch.no_grad()
    def initialise(self) -> None:
        """Gates as in xLSTM-7B: the same for every token at first, little enters, and much is kept, from head to head more."""
        self.gates.weight.zero_()
        self.gates.bias[: self.heads] = -10.0
        self.gates.bias[self.heads :] = torch.linspace(3.0, 6.0, self.heads)

    def flops(self, length: int, full_mask: bool) -> float:
        """A token, beside the maps; see XLSTM.flops."""
        key, value, chunk = self.key_width, self.value_width, min(self.chunk, length)
        rest = length % chunk  # the last chunk is shorter
        square = (length - rest) * chunk + rest**2
        pairs = square if full_mask else (square + length) / 2
        read, written = length - chunk, length - (rest or chunk)  # tokens that have a chunk before them, or one after
        return self.heads * 2 * (pairs * (key + value) + read * key * (value + 1) + written * key * value) / length


class Block(nn.Module):
    """A memory, then a gated feed-forward network, each with a norm before it."""

    def __init__(self, width: int, memory: MatrixMemory, hidden: int, dropout: float) -> None:
        super().__init__()
        self.memory_norm = RMSNorm(width)
        self.memory = memory
        self.feed_norm = RMSNorm(width)
        self.feed = SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        mixed, after = self.memory(self.memory_norm(x), state)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed(self.feed_norm(x))), after


class XLSTM(Backbone):
    """xLSTM (Beck et al. 2024, arXiv:2405.04517), with the blocks of xLSTM-7B (Beck et al. 2025, arXiv:2503.13427)."""

    causal = True

    def __init__(self, width: int, context: int, layers: int = 4, heads: int = 4, chunk: int = 64, dropout: float = 0.0) -> None:
        super().__init__(width, context)
        self.hidden = feed_width(width, 8 / 3)
        self.blocks = nn.ModuleList(
            Block(width, MatrixMemory(width, heads, chunk), self.hidden, dropout) for _ in range(at_least_one("layers", layers))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Any] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Any] | None]:
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, kept = block(x, None if state is None else state[layer])
            after.append(kept)
        return x, None if state is None else after

    def memories(self) -> list[MatrixMemory]:
        """The memory of each layer."""
        return [module for module in self.modules() if isinstance(module, MatrixMemory)]

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Any]:
        """For each layer and head a matrix K × V, a vector K and a number. The same for any length."""
        return [memory.init_state(batch, like) for memory in self.memories()]

    def initialise(self) -> None:
        """Gates as in xLSTM-7B."""
        for memory in self.memories():
            memory.initialise()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 6·D·hidden ≈ 16·D², 2·D·(2·H·K + 3·H·V + 2·H) for the maps, and the memory of each head.

        That compares a token with (L + 1)/2 of its chunk of L tokens (L over the whole square), 2·(K + V) each, and between
        chunks reads and writes K × V, 2·K·(V + 1) and 2·K·V.
        """
        total = len(self.blocks) * 6.0 * self.width * self.hidden
        for memory in self.memories():
            maps = 2 * self.width * (sum(memory.sizes) + memory.sizes[-1] + 2 * memory.heads)
            total += maps + memory.flops(length, full_mask)
        return total
