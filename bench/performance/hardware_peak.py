"""What the machine itself can do, timed as architectures are: one large matrix product, one large copy.

A rate is held against the product of the same process, precision and threads, never against a figure from a data sheet.
"""

from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor

from bench.performance import timing
from bench.performance.timing import TimedWindow

WINDOW_SECONDS = 0.1  # of one window, about
WARMUP_CALLS = 2  # calls before the first window: pages are touched, a library plans
MATRIX_SIDE = {
    "cpu": 1024,
    "cuda": 8192,
}  # of the square matrices: large enough that it is arithmetic that takes the time
COPY_BYTES = {"cpu": 64 << 20, "cuda": 256 << 20}  # that are copied: more than the caches hold


class HardwarePeak:
    """Times what is done with operands on a device and in a precision. They are made when first asked for."""

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self.device, self.precision = device, precision
        self.counts: dict[str, int] = {}

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Two square matrices, and a place for their product."""
        side = MATRIX_SIDE[self.device.type]
        generator = torch.Generator(self.device).manual_seed(0)
        drawn = [
            torch.randn(side, side, device=self.device, generator=generator).to(self.precision)
            for _ in range(2)
        ]
        return drawn[0], drawn[1], torch.empty_like(drawn[0])

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Where the copy comes from, and where it goes."""
        source = torch.ones(COPY_BYTES[self.device.type], dtype=torch.uint8, device=self.device)
        return source, torch.zeros_like(source)

    @torch.no_grad()
    def product(self) -> TimedWindow:
        """Matrix products for about a window's seconds; its `tokens` are FLOPs, 2 for each multiply-add."""
        first, second, result = self.factors
        return self._timed(
            "product", partial(torch.mm, first, second, out=result), 2.0 * first.shape[0] ** 3
        )

    @torch.no_grad()
    def copy(self) -> TimedWindow:
        """Copies for about a window's seconds; its `tokens` are bytes, those read and those written."""
        source, target = self.places
        return self._timed("copy", partial(target.copy_, source), 2.0 * source.numel())

    def drop(self) -> None:
        """Give the operands back: others share the device. They are made again when they are asked for."""
        for made in ("factors", "places"):
            self.__dict__.pop(made, None)

    def _timed(self, name: str, work: Callable[[], object], amount: float) -> TimedWindow:
        if name not in self.counts:
            self.counts[name] = timing.count_repeats(
                work, WINDOW_SECONDS, self.device, WARMUP_CALLS
            )
        work()  # untimed, as in every window: after another process's turn the caches are cold
        return timing.time_work(work, amount, self.device, self.counts[name])
