"""Time a large matrix product and a large copy as architectures are timed.

A rate is compared with the product of the same process, precision and threads, never with a data
sheet.
"""

from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor

from bench.performance import timing
from bench.performance.timing import TimedWindow

WINDOW_SECONDS = 0.1
WARMUP_CALLS = 2  # touch the pages, let a library plan
MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}  # large enough to be limited by arithmetic
COPY_BYTES = {"cpu": 64 << 20, "cuda": 256 << 20}  # more than the caches hold


class HardwarePeak:
    """Time operations on a device in a precision; operands are allocated at first use."""

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self.device, self.precision = device, precision
        self.repeats: dict[str, int] = {}

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return two random square matrices and room for their product."""
        shape = (MATRIX_SIDE[self.device.type],) * 2
        generator = torch.Generator(self.device).manual_seed(0)
        first, second = (
            torch.randn(shape, device=self.device, generator=generator).to(self.precision)
            for _ in range(2)
        )
        return first, second, torch.empty_like(first)

    @cached_property
    def buffers(self) -> tuple[Tensor, Tensor]:
        """Return the source and the target of the copy."""
        source = torch.ones(COPY_BYTES[self.device.type], dtype=torch.uint8, device=self.device)
        return source, torch.zeros_like(source)

    @torch.no_grad()
    def product(self) -> TimedWindow:
        """Time matrix products; the window's `tokens` are FLOPs, 2 per multiply-add."""
        first, second, result = self.factors
        work = partial(torch.mm, first, second, out=result)
        return self._time("product", work, 2.0 * first.shape[0] ** 3)

    @torch.no_grad()
    def copy(self) -> TimedWindow:
        """Time copies; the window's `tokens` are bytes, read and written."""
        source, target = self.buffers
        return self._time("copy", partial(target.copy_, source), 2.0 * source.numel())

    def release(self) -> None:
        """Free the operands, which the next window allocates again: processes share the device."""
        for name in ("factors", "buffers"):
            self.__dict__.pop(name, None)

    def _time(self, name: str, work: Callable[[], object], amount: float) -> TimedWindow:
        if name not in self.repeats:
            self.repeats[name] = timing.count_repeats(
                work, WINDOW_SECONDS, self.device, WARMUP_CALLS
            )
        work()  # untimed: caches are cold after another process's turn
        return timing.time_work(work, amount, self.device, self.repeats[name])
