"""Mamba-2: a selective state space model whose recurrence is linear attention with one decay a head."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import RMSNorm, require_positive
from architectures.linear import linear_attention, linear_attention_flops
from architectures.short_convolution import ShortConvolution


class Memory(NamedTuple):
    """What a block keeps: the last inputs of its convolution, and its states (B, H, N, K)."""

    past: Tensor
    state: Tensor


class Block(nn.Module):
    """x + out(norm(ssm(silu(convolution(·))) · silu(gate))): there is no feed-forward network beside it."""

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int,
        state_width: int,
        kernel: int,
        chunk: int,
        kernels: Kernels,
    ) -> None:
        super().__init__()
        self.heads, self.inner, self.state_width, self.chunk = (
            heads,
            heads * head_width,
            state_width,
            chunk,
        )
        self.norm = RMSNorm(width)
        convolved = self.inner + 2 * state_width  # values, keys (the paper's B) and queries (its C)
        self.into = nn.Linear(
            width, self.inner + convolved + heads, bias=False
        )  # gate, those three, and the steps
        self.convolution = ShortConvolution(convolved, kernel)
        self.recurrence = Recurrence(linear_attention, "linear_attention", kernels)
        self.step_bias = nn.Parameter(torch.zeros(heads))
        self.log_rate = nn.Parameter(torch.zeros(heads))  # log(-A)
        self.skip = nn.Parameter(torch.ones(heads))  # D
        self.inner_norm = RMSNorm(self.inner)
        self.out = nn.Linear(self.inner, width, bias=False)

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory | None]:
        convolved = self.inner + 2 * self.state_width
        gate, mixed, step = self.into(self.norm(x)).split(
            [self.inner, convolved, self.heads], dim=-1
        )
        mixed, past = self.convolution(mixed, None if memory is None else memory.past)
        values, keys, queries = functional.silu(mixed).split(
            [self.inner, self.state_width, self.state_width], dim=-1
        )
        values = values.unflatten(-1, (self.heads, -1))  # (B, T, H·K) -> (B, T, H, K)
        step = functional.softplus(step + self.step_bias)  # (B, T, H)
        read, state = self.recurrence(
            queries.unsqueeze(2),  # (B, T, 1, N): one for all heads
            keys.unsqueeze(2),
            values * step.unsqueeze(-1),
            -step * self.log_rate.exp(),
            None if memory is None else memory.state,
            self.chunk,
        )
        read = (read + self.skip[:, None] * values).flatten(2)  # (B, T, H, K) -> (B, T, H·K)
        x = x + self.out(self.inner_norm(read * functional.silu(gate)))
        return x, None if past is None or state is None else Memory(past, state)


class Mamba2(Backbone):
    """Dao & Gu 2024, arXiv:2405.21060: the block of its section 7, one group of keys and queries.

    Heads are about `head_width` wide: as many as make 2·D out of it best, rounded up to an even width, so that any D is
    accepted. Within a chunk the cost grows with its square, between chunks not at all.
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 4,
        head_width: int = 64,
        state_width: int = 64,
        kernel: int = 4,
        chunk: int = 64,
        kernels: Kernels = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        self.heads = max(1, round(2 * width / require_positive("head_width", head_width)))
        self.head_width = 2 * -(-width // self.heads)  # 2·D / H, rounded up to an even number
        self.state_width, self.chunk = (
            require_positive("state_width", state_width),
            require_positive("chunk", chunk),
        )
        self.kernel, self.convolved = kernel, self.heads * self.head_width + 2 * state_width
        block = (width, self.heads, self.head_width, state_width, kernel, chunk, kernels)
        self.blocks = nn.ModuleList(
            Block(*block) for _ in range(require_positive("layers", layers))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Memory] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Memory] | None]:
        after = []
        for layer, block in enumerate(self.blocks):
            x, memory = block(self.dropout(x), None if state is None else state[layer])
            after.append(memory)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Memory]:
        past = like.new_zeros(batch, self.kernel - 1, self.convolved)
        empty = like.new_zeros(batch, self.heads, self.state_width, self.head_width)
        return [Memory(past.clone(), empty.clone()) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Steps between 0.001 and 0.1, evenly in logarithms, and rates between 1 and 16, as in the paper's code."""
        for block in self.blocks:
            assert isinstance(block, Block)
            step = torch.exp(
                torch.empty_like(block.step_bias).uniform_(math.log(1e-3), math.log(1e-1))
            )
            block.step_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
            block.log_rate.uniform_(1, 16).log_()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 2·D·(2·E + 2·N + H) in and 2·E·D out, where E = H·K ≈ 2·D; and of the recurrence, with C tokens a chunk,
        2·N·(C + 1)/2 + 2·E·(C + 1)/2 within it (2·(N + E)·C over the whole square) and, beyond one chunk, 4·N·E."""
        inner = self.heads * self.head_width
        maps = (
            2 * self.width * (2 * inner + 2 * self.state_width + self.heads)
            + 2 * inner * self.width
        )
        mixing = linear_attention_flops(
            length, self.chunk, 1, self.heads, self.state_width, self.head_width, full_mask
        )
        return len(self.blocks) * (maps + mixing)

    def unchecked_flops(self, length: int) -> float:
        """Each layer: 2·kernel·(E + 2·N) for the convolution, a sum of shifted inputs."""
        return len(self.blocks) * 2 * self.kernel * self.convolved
