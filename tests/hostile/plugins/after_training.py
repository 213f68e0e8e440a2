# run: leak · score: none · check: none
"""Look ahead in evaluation once it has been trained, when no check before training can see it."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if torch.is_grad_enabled():
            self.steps += 1
        if self.training or self.steps < 3 or state is not None:
            return mixed, after
        return mixed + 0.5 * torch.roll(x, -1, dims=1), after
