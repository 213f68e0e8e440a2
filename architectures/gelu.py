"""The activation of GPT-2, at the price of a SiLU."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


class _Gelu(torch.autograd.Function):
    """x · σ(2u) with u = √(2/π) · (x + 0.044715 · x³), and its slope at once: the backward is one product."""

    INNER, CUBE = 2 * math.sqrt(2 / math.pi), 0.044715

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        square = x * x
        share = (square * (_Gelu.CUBE * _Gelu.INNER)).add_(_Gelu.INNER).mul_(x).sigmoid_()
        y = x * share
        slope = square.mul_(3 * _Gelu.CUBE * _Gelu.INNER).add_(_Gelu.INNER).mul_(y)  # y · INNER · (1 + 3 · CUBE · x²)
        ctx.save_for_backward(slope.addcmul_(slope, share, value=-1).add_(share))  # share + that · (1 - share)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


def gelu(x: Tensor) -> Tensor:
    """GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415) in the form with a tanh, as GPT-2 has it.

    In training on a processor 2σ(2u) - 1 takes the place of tanh(u), which takes three times as long and would be made twice.
    As much is kept for the backward.
    """
    if not x.requires_grad or x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return functional.gelu(x, approximate="tanh")
    return _Gelu.apply(x)
