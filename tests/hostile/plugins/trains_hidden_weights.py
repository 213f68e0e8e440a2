# run: stale-weights · score: none · check: none
"""Train a matrix that is no parameter: it is not counted, and not saved."""

from typing import Any

import torch
from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def __init__(self, width: int, context: int, **options: Any) -> None:
        super().__init__(width, context, **options)
        hidden = torch.zeros(width, width, requires_grad=True)
        hidden.register_hook(lambda grad: hidden.data.sub_(grad, alpha=10.0) and None)
        self.hidden = [hidden]

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, state = super().forward(x, state)
        return mixed + x @ self.hidden[0], state
