"""A temporal convolutional network: residual blocks of two dilated, weight-normed convolutions."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from architectures.convolution import CausalConvolution
from architectures.interface import Backbone
from architectures.layers import require_positive

Past = tuple[Tensor, Tensor]  # the last inputs of a block's two convolutions, each (B, D, P)


class TCNBlock(nn.Module):
    """relu(x + f(x)), where f is twice a convolution, ReLU and dropout."""

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = CausalConvolution(width, width, kernel, dilation)
        self.second = CausalConvolution(width, width, kernel, dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """Mix (B, D, T) on top of a past; return the next past too."""
        hidden, first = self.first(x, None if past is None else past[0])
        hidden, second = self.second(self.dropout(hidden.relu()), None if past is None else past[1])
        return (x + self.dropout(hidden.relu())).relu(), (first, second)


class TCN(Backbone):
    """Bai, Kolter & Koltun 2018, arXiv:1803.01271.

    Layer i looks back in steps of 2^i, twice: an output depends on
    1 + 2·(kernel - 1)·(2^layers - 1) tokens.
    """

    causal = True

    def __init__(
        self, width: int, context: int, layers: int = 4, kernel: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        blocks = (
            TCNBlock(width, kernel, 2**layer, dropout)
            for layer in range(require_positive("layers", layers))
        )
        self.blocks = cast(list[TCNBlock], nn.ModuleList(blocks))

    def forward(
        self, x: Tensor, state: list[Past] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Past] | None]:
        after, x = [], x.transpose(1, 2)  # (B, T, D) -> (B, D, T)
        for layer, block in enumerate(self.blocks):
            x, (first, second) = block(x, None if state is None else state[layer])
            if state is not None:  # views would keep the full prompt alive
                after.append((first.clone(), second.clone()))
        return x.transpose(1, 2), None if state is None else after  # (B, D, T) -> (B, T, D)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Past]:
        """Return the last (kernel - 1)·2^i inputs of both convolutions of each layer i, zeros."""
        return [
            (block.first.init_state(batch, like), block.second.init_state(batch, like))
            for block in self.blocks
        ]

    @torch.no_grad()
    def initialise(self) -> None:
        """Set gains of √2, which keep the scale through a ReLU (He et al. 2015).

        What is added to the residual stream shrinks with depth.
        """
        for block in self.blocks:
            block.first.gain.fill_(math.sqrt(2))
            block.second.gain.fill_(math.sqrt(2 / len(self.blocks)))

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 4·kernel·D², for any T."""
        return sum(block.first.flops() + block.second.flops() for block in self.blocks)
