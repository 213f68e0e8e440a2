"""A gated convolutional network: residual bottlenecks of weight-normed, gated convolutions."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.convolution import CausalConvolution
from architectures.interface import Backbone
from architectures.layers import require_positive


class GCNNBlock(nn.Module):
    """x + f(x), where f is three gated convolutions: D -> I, I -> I over `kernel`, I -> D."""

    def __init__(self, width: int, inner: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.into = CausalConvolution(width, 2 * inner, 1)
        self.across = CausalConvolution(inner, 2 * inner, kernel)
        self.out = CausalConvolution(inner, 2 * width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mix (B, D, T) on top of the past of `across`, (B, I, P); return the next past too."""
        hidden = functional.glu(self.into(x, None)[0], dim=1)  # (B, D, T) -> (B, I, T)
        hidden, past = self.across(hidden, past)
        hidden = self.out(functional.glu(hidden, dim=1), None)[0]  # (B, I, T) -> (B, 2·D, T)
        return x + self.dropout(functional.glu(hidden, dim=1)), past


class GCNN(Backbone):
    """Dauphin et al. 2017, arXiv:1612.08083, in the bottleneck form (GCNN-8B, GCNN-14B).

    Without dilation: an output depends on 1 + layers·(kernel - 1) tokens. `shrink`: the inner width
    is D / shrink.
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 8,
        kernel: int = 4,
        shrink: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        inner = max(1, width // require_positive("shrink", shrink))
        blocks = (
            GCNNBlock(width, inner, kernel, dropout)
            for _ in range(require_positive("layers", layers))
        )
        self.blocks = cast(list[GCNNBlock], nn.ModuleList(blocks))

    def forward(
        self, x: Tensor, state: list[Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        after, x = [], x.transpose(1, 2)  # (B, T, D) -> (B, D, T)
        for layer, block in enumerate(self.blocks):
            x, past = block(x, None if state is None else state[layer])
            if state is not None:
                after.append(past.clone())  # a view would keep the full prompt alive
        return x.transpose(1, 2), None if state is None else after  # (B, D, T) -> (B, T, D)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """Return the last kernel - 1 inputs of each layer's wide convolution, zeros (B, I, P)."""
        return [block.across.init_state(batch, like) for block in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Set gains of 2, which keep the scale through a half-open gate.

        What is added to the residual stream is half of that, and shrinks with depth.
        """
        for block in self.blocks:
            block.into.gain.fill_(2.0)
            block.across.gain.fill_(2.0)
            block.out.gain.fill_(1.0 / math.sqrt(len(self.blocks)))

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, with inner width I: 4·D·I + 4·kernel·I² + 4·I·D, for any T."""
        parts = (part for block in self.blocks for part in (block.into, block.across, block.out))
        return sum(part.flops() for part in parts)
