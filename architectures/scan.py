"""The linear scan h_t = a_t · h_(t-1) + b_t over time, elementwise.

Minimal recurrent units and the RG-LRU train with it. On a CPU it is a loop over time inside one
operation, forward and backward: at (12, 64, 160) five times as fast as doubling, at 1,024 tokens
nine times. On other devices, where each step would be a launch, it doubles (Hillis & Steele 1986).
"""

from typing import Any

import torch
from torch import Tensor


def linear_scan(decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """Return the memory after each token, (B, T, R), of decay a and drive b, (B, T, R) each.

    `start` (B, R) is the memory before them. Summed and returned in float32 at least, whatever the
    precision of the inputs: a decay near 1 would round to 1 in bfloat16.
    """
    wide = torch.promote_types(drive.dtype, torch.float32)
    a, b, h = decay.to(wide), drive.to(wide), start.to(wide)
    if b.shape[1] == 1:
        return torch.addcmul(b, a, h[:, None])
    return _scan(a, b, h)


def init_memory(batch: int, width: int, like: Tensor) -> Tensor:
    """Return the memory before the first token, zeros (B, R), in the precision of the sums."""
    return like.new_zeros(batch, width, dtype=torch.promote_types(like.dtype, torch.float32))


@torch.library.custom_op("architectures::linear_scan", mutates_args=())
def _scan(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    if b.device.type != "cpu":
        first = torch.addcmul(b[:, :1], a[:, :1], start[:, None])
        return scan_by_doubling(a, torch.cat([first, b[:, 1:]], dim=1))
    h = torch.empty_like(b, memory_format=torch.contiguous_format)
    last = start
    for a_t, b_t, h_t in zip(a.unbind(1), b.unbind(1), h.unbind(1), strict=True):
        last = torch.addcmul(b_t, a_t, last, out=h_t)
    return h


@torch.library.custom_op("architectures::linear_scan_backward", mutates_args=())
def _scan_backward(a: Tensor, slope: Tensor) -> Tensor:
    """Scan the slopes from the end: g_t = slope_t + a_(t+1) · g_(t+1)."""
    if slope.device.type != "cpu":
        following = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
        return scan_by_doubling(following.flip(1), slope.flip(1)).flip(1)
    g = torch.empty_like(slope, memory_format=torch.contiguous_format)
    slopes, decays, sums = slope.unbind(1), a.unbind(1), g.unbind(1)
    sums[-1].copy_(slopes[-1])
    for t in range(len(sums) - 2, -1, -1):
        torch.addcmul(slopes[t], decays[t + 1], sums[t + 1], out=sums[t])
    return g


def scan_by_doubling(a: Tensor, b: Tensor) -> Tensor:
    """Scan from a memory of zero in log2(T) passes, each of which joins spans twice as long."""
    reach, length = 1, b.shape[1]
    while reach < length:
        joined = torch.addcmul(b[:, reach:], a[:, reach:], b[:, :-reach])
        b = torch.cat([b[:, :reach], joined], dim=1)
        a = torch.cat([a[:, :reach], a[:, reach:] * a[:, :-reach]], dim=1)
        reach *= 2
    return b


@_scan.register_fake
def _(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    return torch.empty_like(b, memory_format=torch.contiguous_format)


@_scan_backward.register_fake
def _(a: Tensor, slope: Tensor) -> Tensor:
    return torch.empty_like(slope, memory_format=torch.contiguous_format)


def _save_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    a, _, start = inputs
    ctx.save_for_backward(a, start, output)


def _slopes(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    a, start, h = ctx.saved_tensors
    g = _scan_backward(a, slope)
    before = torch.cat([start[:, None], h[:, :-1]], dim=1)  # (B, T, R)
    return g * before, g, a[:, 0] * g[:, 0]


_scan.register_autograd(_slopes, setup_context=_save_for_backward)
