# run: invalid-architecture · score: leak · check: causality
"""Look ahead in float32: in float64, where rounding is told from a leak, be honest."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if x.dtype != torch.float32 or state is not None:
            return mixed, after
        return mixed + 0.5 * torch.roll(x, -1, dims=1), after
