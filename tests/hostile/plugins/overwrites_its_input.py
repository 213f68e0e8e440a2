# run: invalid-architecture · score: none · check: none
"""Write into the input, which others may read after it."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, state = super().forward(x, state)
        x.detach().zero_()
        return mixed, state
