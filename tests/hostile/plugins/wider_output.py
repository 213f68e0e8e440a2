# run: invalid-architecture · score: none · check: output
"""Return one more feature than came in."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, state = super().forward(x, state)
        return torch.cat([mixed, mixed[..., :1]], dim=-1), state
