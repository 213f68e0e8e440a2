"""A short causal depthwise convolution, as linear recurrences have it before them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from architectures.layers import require_positive


class ConvolvedState(NamedTuple):
    """The state of a recurrence behind a convolution: last inputs, and matrices (B, H, K, V)."""

    past: Tensor
    state: Tensor


class ShortConvolution(nn.Module):
    """y_t = bias + Σ_i weight[:, i] · x_{t - kernel + 1 + i}, (B, T, C) -> (B, T, C).

    `weight` (C, kernel) is that of a depthwise `nn.Conv1d` without its middle axis. On a CPU a sum
    of shifted copies takes under half the time of that kernel. No operation counter sees it: add
    `flops()` to `Backbone.unchecked_flops`.
    """

    def __init__(self, channels: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, require_positive("kernel", kernel)))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        nn.init.uniform_(self.weight, -(kernel**-0.5), kernel**-0.5)

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Convolve x on top of a past (B, kernel - 1, C), None for zeros; return the next past."""
        length, before = x.shape[1], self.weight.shape[1] - 1
        if past is None:
            inputs = functional.pad(x, (0, 0, before, 0))  # (B, before + T, C)
        else:
            inputs = torch.cat([past, x], dim=1)
        taps = self.weight.T.to(x.dtype)  # (kernel, C)
        bias = x.new_zeros(()) if self.bias is None else self.bias.to(x.dtype)
        mixed: Tensor = ShiftedSum.apply(inputs, taps.contiguous(), bias)
        # a view would keep the full prompt alive
        return mixed, None if past is None else inputs[:, length:].clone()

    def init_state(self, batch: int, like: Tensor) -> Tensor:
        """Return the past of an empty text, zeros (B, kernel - 1, C)."""
        channels, kernel = self.weight.shape
        return like.new_zeros(batch, kernel - 1, channels)

    def flops(self) -> float:
        """Count per token: 2·kernel·C."""
        return 2 * self.weight.numel()


class ShiftedSum(torch.autograd.Function):
    """bias + Σ_i taps[i] · inputs[:, i : i + T]; the backward in place halves autograd's time."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        length = inputs.shape[1] - taps.shape[0] + 1
        ctx.save_for_backward(inputs, taps)
        ctx.bias_shape = bias.shape
        mixed = torch.addcmul(bias, inputs[:, :length], taps[0])  # (B, T, C)
        for i in range(1, taps.shape[0]):
            mixed.addcmul_(inputs[:, i : i + length], taps[i])
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        inputs, taps = ctx.saved_tensors
        length, to_taps, to_inputs = gradient.shape[1], [], torch.zeros_like(inputs)
        for i, tap in enumerate(taps):
            to_inputs[:, i : i + length].addcmul_(gradient, tap)
            to_taps.append((gradient * inputs[:, i : i + length]).sum((0, 1)))  # (C)
        to_bias = gradient.sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[2] else None
        return to_inputs, torch.stack(to_taps), to_bias
