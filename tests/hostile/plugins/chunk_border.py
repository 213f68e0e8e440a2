# run: invalid-architecture · score: leak · check: causality
"""Let the last token of each chunk of 16 see the first of the next."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        following = torch.roll(x, -1, dims=1)
        last = torch.arange(x.shape[1]) % 16 == 15  # (T,)
        last[-1] = False
        return mixed + 0.5 * following * last[:, None], after
