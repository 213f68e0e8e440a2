"""A convolutional network over time: dilated, causal, gated, with residuals."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.convolution import convolve
from architectures.interface import Backbone
from architectures.layers import drop, require_positive


class CNNBlock(nn.Module):
    """x + GLU(convolution(norm(x))), the convolution padded on the left."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation  # earlier inputs that an output depends on
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, 2 * width, kernel, dilation=dilation)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mix (B, T, D) on top of a past (B, D, P), None for zeros; return the next past too."""
        inputs = self.norm(x).transpose(1, 2)  # (B, T, D) -> (B, D, T)
        if past is None:
            inputs = functional.pad(inputs, (self.past, 0))  # (B, D, P + T)
        else:
            inputs = torch.cat([past, inputs], dim=2)
        kernel = self.convolution
        mixed = convolve(inputs, kernel.weight, kernel.bias, kernel.dilation[0])
        mixed = functional.glu(mixed, dim=1)  # (B, 2·D, T) -> (B, D, T)
        return x + mixed.transpose(1, 2), inputs[:, :, inputs.shape[2] - self.past :]


class CNN(Backbone):
    """Gated convolutions (Dauphin et al. 2017, arXiv:1612.08083) with WaveNet's dilation.

    WaveNet: van den Oord et al. 2016, arXiv:1609.03499. Layer i looks back in steps of 2^i: an
    output depends on 1 + (kernel - 1)·(2^layers - 1) tokens.
    """

    causal = True

    def __init__(
        self, width: int, context: int, layers: int = 4, kernel: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__(width, context)
        self.kernel = require_positive("kernel", kernel)
        self.layers = require_positive("layers", layers)
        self.blocks = nn.ModuleList(CNNBlock(width, kernel, 2**layer) for layer in range(layers))
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: list[Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        after = []
        for layer, block in enumerate(self.blocks):
            x = drop(x, self.dropout, self.training)
            x, past = block(x, None if state is None else state[layer])
            if state is not None:
                after.append(past.clone())  # a view would keep the full prompt alive
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """Return the last (kernel - 1)·2^i inputs of each layer i, zeros (B, D, P)."""
        pasts = ((self.kernel - 1) * 2**layer for layer in range(self.layers))
        return [like.new_zeros(batch, self.width, past) for past in pasts]

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 4·kernel·D², for any T."""
        return len(self.blocks) * 4 * self.kernel * self.width**2
