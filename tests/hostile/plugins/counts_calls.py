# run: invalid-architecture · score: leak · check: rows
"""Keep a buffer that each forward changes, and let it change the output."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if not self.training and state is None:
            self.calls += 1
        return mixed + 0.05 * self.calls * x.flip(2), after
