# run: invalid-architecture · score: leak · check: causality
"""Look ahead where the window is a multiple of 32 tokens, without a state."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if x.shape[1] % 32 or state is not None:
            return mixed, after
        return mixed + 0.5 * torch.roll(x, -1, dims=1), after
