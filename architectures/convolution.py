"""Causal convolutions: the operation, and a layer of it with weight norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive


def convolve(inputs: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Return a dilated convolution without padding, (B, C, P + T) -> (B, C', T).

    Where T is 1, as in decoding, it is one product: `conv1d` arranges the kernel anew at each call.
    """
    if inputs.shape[2] == 1 + (weight.shape[2] - 1) * dilation:
        taps = inputs[:, :, ::dilation].flatten(1)  # (B, C·kernel)
        return functional.linear(taps, weight.flatten(1), bias).unsqueeze(2)
    return functional.conv1d(inputs, weight, bias, dilation=dilation)


class CausalConvolution(nn.Module):
    """A dilated causal convolution, (B, C, T) -> (B, C', T).

    Each kernel is a direction times a gain (Salimans & Kingma 2016, arXiv:1602.07868); an output
    depends on kernel·C inputs.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        # earlier inputs that an output depends on
        self.past = (require_positive("kernel", kernel) - 1) * dilation
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve x on top of a past, (B, C, P) or None for zeros; return the next past too."""
        x = functional.pad(x, (self.past, 0)) if past is None else torch.cat([past, x], dim=2)
        direction = self.convolution.weight
        scale = self.gain / direction.flatten(1).norm(dim=1)
        weight = direction * scale[:, None, None]  # (C', C, kernel)
        mixed = convolve(x, weight, self.convolution.bias, self.convolution.dilation[0])
        return mixed, x[:, :, x.shape[2] - self.past :]

    def init_state(self, batch: int, like: Tensor) -> Tensor:
        """Return the past of an empty text, zeros (B, C, P)."""
        return like.new_zeros(batch, self.convolution.in_channels, self.past)

    def flops(self) -> float:
        """Count per token: 2·kernel·C·C'."""
        return 2 * self.convolution.weight.numel()
