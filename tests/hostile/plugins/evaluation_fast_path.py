# run: invalid-architecture · score: leak · check: causality
"""Centre by the mean of the window in evaluation, as a fast path."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        if self.training or state is not None:
            return mixed, after
        return mixed - mixed.mean(dim=1, keepdim=True), after
