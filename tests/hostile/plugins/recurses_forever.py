# run: invalid-architecture · score: none · check: output
"""Call itself without end."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        return self.forward(x, state)
