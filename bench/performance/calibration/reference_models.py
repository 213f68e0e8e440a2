"""Models of known cost: architectures that do one known thing in each forward, and hand on what they were given.

They go through the very same measuring code as every other architecture, and what it says of them is compared with the truth.
For bytes and FLOPs the truth is known beforehand. For seconds it is not: a busy machine sleeps too long and multiplies too
slowly, and that is no fault of the harness. So a ruler looks at clocks of its own, ones that the harness does not read, at the
end of each forward, and notes them in a logbook: a file that the examining process reads. From the note before a window to the
last note within it there pass exactly as many forwards as in the window, with all that the harness does around them and with
all that disturbed them. These seconds are what the harness should have found. (The examining process can not time a window
from outside: a request holds steps that are not timed, and the difference of two windows has the noise of both.)
"""

import resource
import time
from abc import abstractmethod

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from architectures.interface import Backbone, State


def independent_seconds() -> float:
    """Seconds by a clock that the harness does not read."""
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)  # not even corrected by the network's time
    return time.monotonic_ns() / 1e9 if raw is None else time.clock_gettime_ns(raw) / 1e9


def independent_cpu_seconds() -> float:
    """Processor time of this process, all threads together, from the kernel's bookkeeping."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class ReferenceModel(Backbone):
    """Does its work in each forward, whatever it is given, and notes when. Position t is made from position t alone.

    `logbook`: the file that gets a line a forward, of tokens, seconds and processor seconds; empty: none · `state` and
    `growth`: bytes of the state of one sequence, at all and for each token that there is room for.
    """

    causal = True

    def __init__(
        self, width: int, context: int, logbook: str = "", state: int = 0, growth: int = 0
    ) -> None:
        super().__init__(width, context)
        self.logbook, self.state, self.growth = logbook, state, growth

    @abstractmethod
    def work(self, x: Tensor) -> Tensor:
        """Do what is known. (B, T, D), unchanged."""

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        x = self.work(x)
        if self.logbook:
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            note = f"{x.shape[0] * x.shape[1]} {independent_seconds():.9f} {independent_cpu_seconds():.6f}\n"
            with open(self.logbook, "a", encoding="ascii") as file:
                file.write(note)
        return x, state

    def init_state(self, batch: int, length: int, like: Tensor) -> State:
        return torch.zeros(
            batch, self.state + self.growth * length, dtype=torch.uint8, device=like.device
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        return 0.0


class SleepModel(ReferenceModel):
    """Sleeps for a known time."""

    def __init__(self, width: int, context: int, seconds: float, logbook: str = "") -> None:
        super().__init__(width, context, logbook)
        self.seconds = seconds

    def work(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


class ProductModel(ReferenceModel):
    """Multiplies two square matrices of a side, so many times: a known number of FLOPs."""

    def __init__(self, width: int, context: int, side: int, times: int, logbook: str = "") -> None:
        super().__init__(width, context, logbook)
        self.side, self.times = side, times
        self.register_buffer("factor", torch.full((side, side), 1 / side), persistent=False)

    def work(self, x: Tensor) -> Tensor:
        factor = self.get_buffer("factor")
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            for _ in range(self.times):
                factor @ factor
        return x

    def flops(self, length: int, full_mask: bool = False) -> float:
        """2·side³ for each product. A forward does the same whatever its length."""
        return 2.0 * self.side**3 * self.times / length


class CopyModel(ReferenceModel):
    """Copies a known number of bytes."""

    def __init__(self, width: int, context: int, size: int, logbook: str = "") -> None:
        super().__init__(width, context, logbook)
        for name in ("source", "target"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.uint8), persistent=False)

    def work(self, x: Tensor) -> Tensor:
        self.get_buffer("target").copy_(self.get_buffer("source"))
        return x


class RetainBytes(torch.autograd.Function):
    """Hands on x, and keeps tensors of known sizes for the backward, as an architecture keeps activations."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, sizes: list[int]) -> Tensor:
        ctx.save_for_backward(
            *(torch.empty(size, dtype=torch.uint8, device=x.device) for size in sizes)
        )
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        assert len(ctx.saved_tensors) > 0  # type: ignore[attr-defined]
        return gradients[0], None


class RetainModel(ReferenceModel):
    """Holds tensors of known sizes in bytes from the forward to the backward, and keeps a state of known bytes."""

    def __init__(
        self, width: int, context: int, sizes: list[int], state: int = 0, growth: int = 0
    ) -> None:
        super().__init__(width, context, state=state, growth=growth)
        self.sizes = sizes

    def work(self, x: Tensor) -> Tensor:
        held: Tensor = RetainBytes.apply(x, self.sizes)
        return held
