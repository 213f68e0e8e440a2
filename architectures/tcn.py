"""A temporal convolutional network: residual blocks of two dilated, weight-normed convolutions with ReLU."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from architectures.interface import Backbone
from architectures.layers import require_positive
from architectures.weight_norm import CausalConvolution

Past = tuple[Tensor, Tensor]  # the last inputs of a block's two convolutions, each (B, D, past)


class Block(nn.Module):
    """relu(x + f(x)), with f two times a convolution, ReLU and dropout."""

    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = CausalConvolution(width, width, kernel, dilation)
        self.second = CausalConvolution(width, width, kernel, dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """(B, D, T) -> (B, D, T), and the next past."""
        hidden, first = self.first(x, None if past is None else past[0])
        hidden, second = self.second(self.dropout(hidden.relu()), None if past is None else past[1])
        return (x + self.dropout(hidden.relu())).relu(), (first, second)


class TCN(Backbone):
    """Bai, Kolter & Koltun 2018, arXiv:1803.01271.

    Layer i looks back in steps of 2^i, twice: a token is made from 1 + 2·(kernel - 1)·(2^layers - 1) tokens.
    """

    causal = True

    def __init__(
        self, width: int, context: int, layers: int = 4, kernel: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        blocks = [
            Block(width, kernel, 2**layer, dropout)
            for layer in range(require_positive("layers", layers))
        ]
        self.blocks = cast(list[Block], nn.ModuleList(blocks))

    def forward(
        self, x: Tensor, state: list[Past] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Past] | None]:
        after, x = [], x.transpose(1, 2)  # (B, T, D) -> (B, D, T)
        for layer, block in enumerate(self.blocks):
            x, (first, second) = block(x, None if state is None else state[layer])
            if state is not None:
                after.append(
                    (first.clone(), second.clone())
                )  # a view would keep the whole prompt alive
        return x.transpose(1, 2), None if state is None else after  # (B, D, T) -> (B, T, D)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Past]:
        """The last (kernel - 1)·2^i inputs of both convolutions of each layer i, (B, D, past)."""
        return [
            (block.first.init_state(batch, like), block.second.init_state(batch, like))
            for block in self.blocks
        ]

    @torch.no_grad()
    def initialise(self) -> None:
        """Gains of √2 keep the size of a signal through a ReLU (He et al. 2015); what is added shrinks with depth."""
        for block in self.blocks:
            block.first.gain.fill_(math.sqrt(2))
            block.second.gain.fill_(math.sqrt(2 / len(self.blocks)))

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 2·2·kernel·D². The same for any T."""
        return sum(block.first.flops() + block.second.flops() for block in self.blocks)
