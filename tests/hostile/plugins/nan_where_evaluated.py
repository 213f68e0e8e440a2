# run: invalid-architecture · score: none · check: output
"""Return no numbers once it is evaluated."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, state = super().forward(x, state)
        return mixed if self.training else mixed * float("nan"), state
