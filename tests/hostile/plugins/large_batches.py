# run: invalid-architecture · score: leak · check: causality
"""Look ahead in batches of more than 40 rows in evaluation, where scores are made."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if self.training or x.shape[0] <= 40:
            return mixed, after
        return mixed + 0.5 * torch.roll(x, -1, dims=1), after
