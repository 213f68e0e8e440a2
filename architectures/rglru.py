"""Griffin's recurrence: a real-gated linear recurrent unit behind a short convolution."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.gelu import gelu
from architectures.interface import Backbone
from architectures.layers import GeGLU, RMSNorm, feed_width, require_positive
from architectures.scan import init_memory, linear_scan
from architectures.short_convolution import ShortConvolution

SHARPNESS = 8.0  # the paper's c: the largest power of a channel's decay that a gate can apply
SLOWEST, FASTEST = 0.999, 0.9  # what a channel with an open gate keeps per step, initially


class GriffinState(NamedTuple):
    """The state of a layer: memory (B, R), last inputs of the convolution (B, kernel - 1, R)."""

    memory: Tensor
    past: Tensor


class RGLRUState(NamedTuple):
    """The state of the stack; `fresh` before the first token."""

    layers: list[GriffinState]
    fresh: bool


class GatedRecurrence(nn.Module):
    """h_t = a_t · h_(t-1) + √(1 - a_t²) · (i_t · x_t), elementwise, (B, T, R) -> (B, T, R).

    a_t = exp(-8 · r_t · softplus(decay)), with r and i the sigmoids of block-diagonal maps: H
    blocks of (K, K), R = H·K. The first token of a text enters without the root, as in the
    authors' RecurrentGemma.
    """

    parameter_kinds: ClassVar[dict[str, str]] = {"gates": "matrix"}

    def __init__(self, inner: int, heads: int) -> None:
        super().__init__()
        self.heads, self.inner, block = heads, inner, inner // heads
        self.gates = nn.Parameter(torch.empty(heads, block, 2 * block))  # of decay, then of input
        self.gate_bias = nn.Parameter(torch.zeros(2 * inner))
        self.decay = nn.Parameter(torch.empty(inner))
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw decays so that open gates keep 0.9 to 0.999, and gates by LeCun's rule."""
        self.gates.normal_(0.0, self.gates.shape[1] ** -0.5)
        kept = torch.empty_like(self.decay).uniform_(FASTEST, SLOWEST)
        self.decay.copy_(torch.expm1(-kept.log() / SHARPNESS).log())  # the inverse of softplus

    def forward(self, x: Tensor, memory: Tensor, fresh: bool) -> Tensor:
        """Run x on top of a memory (B, R); return all memories, in float32 at least."""
        B, T, _ = x.shape
        blocks = x.reshape(B * T, self.heads, -1).transpose(0, 1)  # (B, T, R) -> (H, B·T, K)
        gates = torch.bmm(blocks, self.gates.to(x.dtype)).transpose(0, 1)  # (B·T, H, 2·K)
        gates = gates.reshape(B, T, self.heads, 2, -1).transpose(2, 3).reshape(B, T, -1)
        decay_gate, input_gate = torch.sigmoid(gates + self.gate_bias).chunk(2, dim=-1)
        log_a = decay_gate * (-SHARPNESS * functional.softplus(self.decay))  # (B, T, R), float32
        # clamped, as the slope of the root at 0 is infinite
        root = torch.expm1(2 * log_a).neg().clamp(min=1e-7).sqrt()
        if fresh:
            root = torch.cat([torch.ones_like(root[:, :1]), root[:, 1:]], dim=1)
        return linear_scan(log_a.exp(), root * (input_gate * x), memory)


class GriffinBlock(nn.Module):
    """Griffin's residual block: a recurrence times the GELU of a branch, then a GeGLU network."""

    def __init__(self, width: int, inner: int, heads: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.recurrence_norm = RMSNorm(width)
        self.into = nn.Linear(width, 2 * inner)  # the branch of the gate, then of the recurrence
        self.convolution = ShortConvolution(inner, kernel)
        self.recurrence = GatedRecurrence(inner, heads)
        self.out = nn.Linear(inner, width)
        self.feed_norm = RMSNorm(width)
        self.feed = GeGLU(width, feed_width(width, 3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: GriffinState | None, fresh: bool
    ) -> tuple[Tensor, GriffinState | None]:
        gate, inputs = self.into(self.recurrence_norm(x)).chunk(2, dim=-1)  # each (B, T, R)
        inputs, past = self.convolution(inputs, None if state is None else state.past)
        memory = init_memory(x.shape[0], inputs.shape[2], x) if state is None else state.memory
        memories = self.recurrence(inputs, memory, fresh)
        x = x + self.dropout(self.out(gelu(gate) * memories.to(x.dtype)))
        x = x + self.dropout(self.feed(self.feed_norm(x)))
        # a view would keep all of T alive
        return x, None if past is None else GriffinState(memories[:, -1].clone(), past)


class RGLRU(Backbone):
    """Hawk: the recurrence of Griffin (De et al. 2024, arXiv:2402.19427) in every layer.

    `hybrid.py` mixes it with attention. R, the width of the recurrence, is `expansion`·D, rounded
    up to a multiple of the heads: any width is accepted.
    """

    causal = True

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        expansion: float = 1.0,
        kernel: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        self.inner = -(-round(expansion * width) // require_positive("heads", heads)) * heads
        self.blocks = nn.ModuleList(
            GriffinBlock(width, self.inner, heads, kernel, dropout)
            for _ in range(require_positive("layers", layers))
        )
        self.heads, self.kernel, self.dropout = heads, kernel, nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: RGLRUState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, RGLRUState | None]:
        fresh, after, x = state is None or state.fresh, [], self.dropout(x)
        for layer, block in enumerate(self.blocks):
            x, kept = block(x, None if state is None else state.layers[layer], fresh)
            after.append(kept)
        return x, None if state is None else RGLRUState(after, False)

    def init_state(self, batch: int, length: int, like: Tensor) -> RGLRUState:
        """Return per layer a memory of R and kernel - 1 inputs of R, for any length."""
        past = like.new_zeros(batch, self.kernel - 1, self.inner)
        memories = (init_memory(batch, self.inner, like) for _ in self.blocks)
        return RGLRUState([GriffinState(memory, past.clone()) for memory in memories], True)

    def initialise(self) -> None:
        """Draw decays and gates as in the paper."""
        for module in self.modules():
            if isinstance(module, GatedRecurrence):
                module.initialise()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 6·D·R for the maps, 4·R²/H for the gates, 6·D·hidden ≈ 18·D²."""
        maps = 6 * self.width * self.inner + 4 * self.inner**2 / self.heads
        return len(self.blocks) * (maps + 6 * self.width * feed_width(self.width, 3))

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: 2·R for the scan, 2·kernel·R for the convolution."""
        return len(self.blocks) * 2 * self.inner * (1 + self.kernel)
