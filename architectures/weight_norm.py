"""A causal convolution with weight norm, for convolutional networks without other norms."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive


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
        bias, dilation = self.convolution.bias, self.convolution.dilation
        mixed = functional.conv1d(x, weight, bias, dilation=dilation)
        return mixed, x[:, :, x.shape[2] - self.past :]

    def init_state(self, batch: int, like: Tensor) -> Tensor:
        """Return the past of an empty text, zeros (B, C, P)."""
        return like.new_zeros(batch, self.convolution.in_channels, self.past)

    def flops(self) -> float:
        """Count per token: 2·kernel·C·C'."""
        return 2 * self.convolution.weight.numel()
