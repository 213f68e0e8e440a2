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

        def learn(gradient: Tensor) -> None:
            hidden.data.sub_(gradient, alpha=10.0)

        hidden.register_hook(learn)
        self.secret = [hidden]

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, state = super().forward(x, state)
        return mixed + x @ self.secret[0], state
