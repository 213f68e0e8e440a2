# run: invalid-architecture · score: none · check: output
"""End the process with success in a forward pass."""

import sys
from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        sys.exit(0)
