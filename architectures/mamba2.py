"""Mamba-2: a selective state space model as linear attention with one decay per head."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import RMSNorm, require_positive
from architectures.linear import linear_attention, linear_attention_flops
from architectures.short_convolution import ConvolvedState, ShortConvolution


@dataclass(frozen=True)
class Mamba2Sizes:
    """The sizes of a block: D, H, K, N, kernel, C."""

    width: int
    heads: int
    head_width: int
    state_width: int
    kernel: int
    chunk: int

    @property
    def inner(self) -> int:
        """Return H·K ≈ 2·D."""
        return self.heads * self.head_width

    @property
    def convolved(self) -> int:
        """Return the channels of values, keys (the paper's B) and queries (its C)."""
        return self.inner + 2 * self.state_width


class Mamba2Block(nn.Module):
    """x + out(norm(ssm(silu(convolution(·))) · silu(gate))), without a feed-forward network."""

    def __init__(self, sizes: Mamba2Sizes, kernels: Kernels) -> None:
        super().__init__()
        self.heads, self.inner, self.state_width = sizes.heads, sizes.inner, sizes.state_width
        self.chunk, inner, convolved = sizes.chunk, sizes.inner, sizes.convolved
        self.norm = RMSNorm(sizes.width)
        # gate, values with keys and queries, steps
        self.into = nn.Linear(sizes.width, inner + convolved + sizes.heads, bias=False)
        self.convolution = ShortConvolution(convolved, sizes.kernel)
        self.recurrence = Recurrence(linear_attention, "linear_attention", kernels)
        self.step_bias = nn.Parameter(torch.zeros(sizes.heads))
        self.log_rate = nn.Parameter(torch.zeros(sizes.heads))  # log(-A)
        self.skip = nn.Parameter(torch.ones(sizes.heads))  # D
        self.inner_norm = RMSNorm(inner)
        self.out = nn.Linear(inner, sizes.width, bias=False)

    def forward(
        self, x: Tensor, memory: ConvolvedState | None
    ) -> tuple[Tensor, ConvolvedState | None]:
        parts = [self.inner, self.inner + 2 * self.state_width, self.heads]
        gate, mixed, step = self.into(self.norm(x)).split(parts, dim=-1)
        past, state = (None, None) if memory is None else memory
        mixed, past = self.convolution(mixed, past)
        read, state = self.recur(functional.silu(mixed), step, state)
        x = x + self.out(self.inner_norm(read * functional.silu(gate)))
        return x, None if past is None or state is None else ConvolvedState(past, state)

    def recur(
        self, mixed: Tensor, step: Tensor, state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what is read of the recurrence, (B, T, H·K), and its next matrices."""
        sizes = [self.inner, self.state_width, self.state_width]
        values, keys, queries = mixed.split(sizes, dim=-1)
        values = values.unflatten(-1, (self.heads, -1))  # (B, T, H·K) -> (B, T, H, K)
        step = functional.softplus(step + self.step_bias)  # (B, T, H)
        keys, queries = keys.unsqueeze(2), queries.unsqueeze(2)  # (B, T, 1, N): one for all heads
        driven, decays = values * step.unsqueeze(-1), -step * self.log_rate.exp()
        read, state = self.recurrence(queries, keys, driven, decays, state, self.chunk)
        # (B, T, H, K) -> (B, T, H·K)
        return (read + self.skip[:, None] * values).flatten(2), state


class Mamba2(Backbone):
    """Dao & Gu 2024, arXiv:2405.21060: the block of its section 7, one group of keys and queries.

    Heads are about `head_width` wide: as many as fit 2·D best, rounded up to an even width, so
    that any D is accepted. Within a chunk the cost grows with its square, between chunks not.
    """

    causal = True

    def __init__(  # noqa: PLR0913
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
        heads = max(1, round(2 * width / require_positive("head_width", head_width)))
        self.sizes = Mamba2Sizes(
            width,
            heads,
            2 * -(-width // heads),  # 2·D / H, rounded up to an even number
            require_positive("state_width", state_width),
            kernel,
            require_positive("chunk", chunk),
        )
        self.blocks = nn.ModuleList(
            Mamba2Block(self.sizes, kernels) for _ in range(require_positive("layers", layers))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[ConvolvedState] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[ConvolvedState] | None]:
        after = []
        for layer, block in enumerate(self.blocks):
            x, memory = block(self.dropout(x), None if state is None else state[layer])
            after.append(memory)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[ConvolvedState]:
        """Return zeros, for any length."""
        sizes = self.sizes
        past = like.new_zeros(batch, sizes.kernel - 1, sizes.convolved)
        empty = like.new_zeros(batch, sizes.heads, sizes.state_width, sizes.head_width)
        return [ConvolvedState(past.clone(), empty.clone()) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw steps log-uniform in 0.001 … 0.1, and rates in 1 … 16, as the paper's code."""
        for block in self.blocks:
            assert isinstance(block, Mamba2Block)
            draw_steps(block.step_bias)
            block.log_rate.uniform_(1, 16).log_()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, E = H·K ≈ 2·D: maps 2·D·(2·E + 2·N + H) + 2·E·D, and the recurrence.

        With C tokens per chunk that is 2·(N + E)·(C + 1)/2 (2·(N + E)·C over the full square) and,
        beyond one chunk, 4·N·E.
        """
        sizes = self.sizes
        into = 2 * self.width * (2 * sizes.inner + 2 * sizes.state_width + sizes.heads)
        shape = (1, sizes.heads, sizes.state_width, sizes.head_width)
        mixing = linear_attention_flops(length, sizes.chunk, shape, full_mask)
        return len(self.blocks) * (into + 2 * sizes.inner * self.width + mixing)

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: 2·kernel·(E + 2·N) for the convolution, a sum of shifted inputs."""
        return len(self.blocks) * 2 * self.sizes.kernel * self.sizes.convolved


def draw_steps(bias: Tensor) -> None:
    """Fill the bias of steps so that their softplus is log-uniform in 0.001 … 0.1."""
    step = torch.exp(torch.empty_like(bias).uniform_(math.log(1e-3), math.log(1e-1)))
    bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
