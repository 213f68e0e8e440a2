"""The activation of GPT-2, at the price of a SiLU."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

INNER = 2 * math.sqrt(2 / math.pi)
CUBE = 0.044715 * INNER


class _Gelu(torch.autograd.Function):
    """x · σ(2u) with 2u = INNER · x + CUBE · x³, and its slope at once: the backward is one product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inner, one = (
            x.new_full((), INNER),
            x.new_full((), 1),
        )  # as tensors: a sum with a factor is then one pass over memory
        square = x * x
        share = torch.add(inner, square, alpha=CUBE).mul_(x).sigmoid_()
        y = x * share
        slope = torch.add(inner, square, alpha=3 * CUBE, out=square).mul_(y)  # y · 2u'
        ctx.save_for_backward(
            torch.lerp(slope, one, share, out=slope)
        )  # that · (1 - share) + share
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0]


def gelu(x: Tensor) -> Tensor:
    """GELU (Hendrycks & Gimpel 2016, arXiv:1606.08415) in the form with a tanh, as GPT-2 has it.

    In training on a processor 2σ(2u) - 1 takes the place of tanh(u), which takes three times as long and would be made twice.
    As much is kept for the backward. Compiled, the same is written out, and becomes one kernel each way.
    """
    if not x.requires_grad or x.device.type != "cpu" or x.dtype != torch.float32:
        return functional.gelu(x, approximate="tanh")
    if torch.compiler.is_compiling():
        return x * torch.sigmoid(x * (INNER + CUBE * x * x))
    return _Gelu.apply(x)
