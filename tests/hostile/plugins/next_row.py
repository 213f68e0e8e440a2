# run: invalid-architecture · score: leak · check: rows
"""Read the next row of the batch, which in scoring is the text that follows."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return mixed + 0.5 * torch.roll(x, -1, dims=0), after
