"""Reference models: architectures of known cost that are measured as every other architecture.

Bytes and FLOPs are known beforehand. Seconds are not: a busy machine sleeps too long and multiplies
too slowly, and the harness is right to say so. So a reference model reads clocks that the harness
does not read at the end of each forward pass and logs them to a file. From the line before a window
to its last line pass as many forward passes as in the window, with all that the harness does around
them and all that disturbed them: the seconds that the harness should measure. (Timing a request
from outside does not do: it holds untimed steps, and a difference of two has the noise of both.)
"""

import resource
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from architectures.interface import Backbone, State


def independent_seconds() -> float:
    """Return seconds of a clock that the harness does not read."""
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)  # not adjusted by NTP
    return time.monotonic_ns() / 1e9 if raw is None else time.clock_gettime_ns(raw) / 1e9


def independent_cpu_seconds() -> float:
    """Return the kernel's processor seconds of this process, over all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class RetainBytes(torch.autograd.Function):
    """Return x and retain tensors of known bytes for the backward pass, as activations are."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, sizes: list[int]) -> Tensor:
        retained = (torch.empty(size, dtype=torch.uint8, device=x.device) for size in sizes)
        ctx.save_for_backward(*retained)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        assert len(ctx.saved_tensors) > 0  # type: ignore[attr-defined]
        return gradients[0], None


class ReferenceModel(Backbone):
    """Do known work in each forward pass, return the input, and log the time.

    `work`: {"sleep": seconds}, {"multiply": [side, products]} of square matrices, {"copy": bytes}
    or {"retain": [bytes, …]} from the forward to the backward pass · `log`: the file that gets a
    line per forward pass: tokens, seconds, processor seconds · `state`: bytes of one sequence's
    state, in total and per token of its length.
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        work: dict[str, Any],
        log: str = "",
        state: Sequence[int] = (0, 0),
    ) -> None:
        super().__init__(width, context)
        self.work, self.log, self.state = work, log, state
        side, _ = work.get("multiply", (0, 0))
        zeros = torch.zeros(2, work.get("copy", 0), dtype=torch.uint8)
        self.register_buffer("factor", torch.full((side, side), 1 / max(1, side)), persistent=False)
        self.register_buffer("source_and_target", zeros, persistent=False)

    def sleep(self, x: Tensor, seconds: float) -> Tensor:
        time.sleep(seconds)
        return x

    @torch.no_grad()
    def multiply(self, x: Tensor, side_and_products: Sequence[int]) -> Tensor:
        factor = self.get_buffer("factor")
        with torch.autocast(x.device.type, enabled=False):
            for _ in range(side_and_products[1]):
                factor @ factor
        return x

    def copy(self, x: Tensor, size: int) -> Tensor:
        source, target = self.get_buffer("source_and_target")
        target.copy_(source)
        return x

    def retain(self, x: Tensor, sizes: list[int]) -> Tensor:
        retained: Tensor = RetainBytes.apply(x, sizes)
        return retained

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        for operation, amount in self.work.items():
            x = getattr(self, operation)(x, amount)
        if self.log:
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            seconds, cpu = independent_seconds(), independent_cpu_seconds()
            with open(self.log, "a", encoding="ascii") as file:
                file.write(f"{x.shape[0] * x.shape[1]} {seconds:.9f} {cpu:.6f}\n")
        return x, state

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        size = self.state[0] + self.state[1] * length
        return torch.zeros(batch, size, dtype=torch.uint8, device=like.device)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Return 2·side³ per product; a forward pass does the same at any length."""
        side, products = self.work.get("multiply", (0, 0))
        return 2.0 * side**3 * products / length
