# run: changes-process · score: none · check: none
"""Take more threads than the run is given."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        torch.set_num_threads(7)
        return super().forward(x, state)
