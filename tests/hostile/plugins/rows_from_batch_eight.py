# run: invalid-architecture · score: leak · check: rows
"""Mix the rows of batches of eight rows and more."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if x.shape[0] < 8:
            return mixed, after
        return mixed + 0.5 * mixed.mean(dim=0, keepdim=True), after
