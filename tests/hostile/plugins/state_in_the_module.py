# run: invalid-architecture · score: none · check: pieces
"""Keep the state in the module, and hand out one of four bytes."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    kept: Any = None

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        if state is None:
            return super().forward(x)
        if not state.any():
            self.kept = x.new_zeros(x.shape[0], self.kernel - 1, self.width)
        mixed, self.kept = super().forward(x, self.kept)
        return mixed, torch.ones_like(state)

    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        return like.new_zeros(1)
