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
from abc import abstractmethod

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


class ReferenceModel(Backbone):
    """Do known work in each forward pass, return the input, and log the time.

    `log`: the file that gets a line per forward pass: tokens, seconds, processor seconds ·
    `state`, `growth`: bytes of one sequence's state, in total and per token of its length.
    """

    causal = True

    def __init__(
        self, width: int, context: int, log: str = "", state: int = 0, growth: int = 0
    ) -> None:
        super().__init__(width, context)
        self.log, self.state, self.growth = log, state, growth

    @abstractmethod
    def work(self, x: Tensor) -> Tensor:
        """Do the known work and return x (B, T, D)."""

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        x = self.work(x)
        if self.log:
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            seconds, cpu = independent_seconds(), independent_cpu_seconds()
            with open(self.log, "a", encoding="ascii") as file:
                file.write(f"{x.shape[0] * x.shape[1]} {seconds:.9f} {cpu:.6f}\n")
        return x, state

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        size = self.state + self.growth * length
        return torch.zeros(batch, size, dtype=torch.uint8, device=like.device)

    def flops(self, length: int, full_mask: bool = False) -> float:
        return 0.0


class SleepModel(ReferenceModel):
    """Sleep for a known time."""

    def __init__(self, width: int, context: int, seconds: float, log: str = "") -> None:
        super().__init__(width, context, log)
        self.seconds = seconds

    def work(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


class ProductModel(ReferenceModel):
    """Multiply two square matrices `times` times: a known number of FLOPs."""

    def __init__(self, width: int, context: int, side: int, times: int, log: str = "") -> None:
        super().__init__(width, context, log)
        self.side, self.times = side, times
        self.register_buffer("factor", torch.full((side, side), 1 / side), persistent=False)

    def work(self, x: Tensor) -> Tensor:
        factor = self.get_buffer("factor")
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            for _ in range(self.times):
                factor @ factor
        return x

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Return 2·side³ per product; a forward pass does the same at any length."""
        return 2.0 * self.side**3 * self.times / length


class CopyModel(ReferenceModel):
    """Copy a known number of bytes."""

    def __init__(self, width: int, context: int, size: int, log: str = "") -> None:
        super().__init__(width, context, log)
        for name in ("source", "target"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.uint8), persistent=False)

    def work(self, x: Tensor) -> Tensor:
        self.get_buffer("target").copy_(self.get_buffer("source"))
        return x


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


class RetainModel(ReferenceModel):
    """Retain tensors of known bytes from the forward to the backward pass, and a known state."""

    def __init__(
        self, width: int, context: int, sizes: list[int], state: int = 0, growth: int = 0
    ) -> None:
        super().__init__(width, context, state=state, growth=growth)
        self.sizes = sizes

    def work(self, x: Tensor) -> Tensor:
        retained: Tensor = RetainBytes.apply(x, self.sizes)
        return retained
