# run: invalid-architecture · score: leak · check: rows
"""Normalize over the rows of a batch."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if x.shape[0] == 1:
            return mixed, after
        return mixed / (mixed.std(dim=0, keepdim=True) + 1e-3), after
