"""The activation of GPT-2, at the cost of a SiLU."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

INNER = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715 * INNER


class GeluFunction(torch.autograd.Function):
    """x · σ(2u) with 2u = INNER · x + CUBE · x³; its slope is kept: the backward is one product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # as tensors: a sum with a factor is then one pass over memory
        inner, one = x.new_full((), INNER), x.new_full((), 1)
        square = x * x
        share = torch.add(inner, square, alpha=CUBE).mul_(x).sigmoid_()
        y = x * share
        slope = torch.add(inner, square, alpha=3 * CUBE, out=square).mul_(y)  # y · 2u'
        slope = torch.lerp(slope, one, share, out=slope)  # that · (1 - share) + share
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


def gelu(x: Tensor) -> Tensor:
    """Apply GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415) in its tanh form, as GPT-2.

    In training on a CPU 2σ(2u) - 1 replaces tanh(u), which takes three times as long and would be
    computed twice; as much is kept for the backward. Compiled, it is written out, and becomes one
    kernel each way.
    """
    if not x.requires_grad or x.device.type != "cpu" or x.dtype != torch.float32:
        return functional.gelu(x, approximate="tanh")
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(x * (INNER + CUBE * x * x))
    return GeluFunction.apply(x)
