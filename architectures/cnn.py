"""A convolutional network over time: dilated, causal, gated, with residuals."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.layers import drop, require_positive


class Block(nn.Module):
    """x + GLU(convolution(norm(x))), the convolution padded on the left so that it sees only what came before."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation  # how many earlier inputs an output is made from
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, 2 * width, kernel, dilation=dilation)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, T, D) and the inputs before it, (B, D, past) or None for silence -> (B, T, D) and the next past."""
        inputs = self.norm(x).transpose(1, 2)  # (B, T, D) -> (B, D, T)
        inputs = (
            functional.pad(inputs, (self.past, 0))
            if past is None
            else torch.cat([past, inputs], dim=2)
        )  # (B, D, past + T)
        mixed = functional.glu(
            self.convolution(inputs), dim=1
        )  # (B, D, past + T) -> (B, 2·D, T) -> (B, D, T)
        return x + mixed.transpose(1, 2), inputs[:, :, inputs.shape[2] - self.past :]  # (B, T, D)


class CNN(Backbone):
    """Gated convolutions (Dauphin et al. 2017, arXiv:1612.08083), dilated as in WaveNet (van den Oord 2016, arXiv:1609.03499).

    Layer i looks back in steps of 2^i: a token is made from 1 + (kernel - 1)·(2^layers - 1) tokens.
    """

    causal = True

    def __init__(
        self, width: int, context: int, layers: int = 4, kernel: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.kernel, self.layers = (
            require_positive("kernel", kernel),
            require_positive("layers", layers),
        )
        self.blocks = nn.ModuleList(Block(width, kernel, 2**layer) for layer in range(layers))
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: list[Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        after = []
        for layer, block in enumerate(self.blocks):
            x, past = block(
                drop(x, self.dropout, self.training), None if state is None else state[layer]
            )
            if state is not None:
                after.append(past.clone())  # a view would keep the whole prompt alive
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """The last (kernel - 1)·2^i inputs of each layer i, (B, D, past)."""
        return [
            like.new_zeros(batch, self.width, (self.kernel - 1) * 2**layer)
            for layer in range(self.layers)
        ]

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 2·kernel·D·2·D. The same for any T."""
        return len(self.blocks) * 4 * self.kernel * self.width**2
