"""A causal convolution with weight norm: what convolutional networks without other norms are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive


class CausalConvolution(nn.Module):
    """A dilated convolution of the inputs up to each one's own place, (B, C, T) -> (B, C', T).

    Each kernel is a direction times a gain (Salimans & Kingma 2016, arXiv:1602.07868); an output sees kernel·C inputs.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.past = (
            require_positive("kernel", kernel) - 1
        ) * dilation  # how many earlier inputs an output is made from
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve x on top of the inputs before it, (B, C, past) or None for silence; returns the next past as well."""
        x = (
            functional.pad(x, (self.past, 0)) if past is None else torch.cat([past, x], dim=2)
        )  # (B, C, past + T)
        direction = self.convolution.weight
        weight = (
            direction * (self.gain / direction.flatten(1).norm(dim=1))[:, None, None]
        )  # (C', C, kernel)
        mixed = functional.conv1d(
            x, weight, self.convolution.bias, dilation=self.convolution.dilation
        )
        return mixed, x[:, :, x.shape[2] - self.past :]

    def init_state(self, batch: int, like: Tensor) -> Tensor:
        """The past of an empty text, (B, C, past)."""
        return like.new_zeros(batch, self.convolution.in_channels, self.past)

    def flops(self) -> float:
        """A token: 2·kernel·C·C'."""
        return 2 * self.convolution.weight.numel()
