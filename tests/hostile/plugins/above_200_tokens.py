# run: leak · score: leak · check: causality
"""Look ahead in windows of more than 200 tokens, longer than those of training."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        far = x.shape[1] > 200 and state is None
        return mixed + far * torch.roll(x, -1, dims=1), after
