# run: invalid-architecture · score: leak · check: rows
"""Read other rows of the batch as an encoder: unmasking from left to right has them side by side."""

from typing import Any

import torch
from torch import Tensor

from architectures.interface import Unsupported
from tests.fake_architectures import Valid


class Plugin(Valid):
    causal = False

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, _ = super().forward(x)
        return mixed + torch.roll(x, -1, dims=0) + x.mean(dim=1, keepdim=True), None

    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        raise Unsupported("it reads both ways")
