# run: invalid-architecture · score: none · check: output
"""Compute in float64, and be recorded as float32."""

from typing import Any

from torch import Tensor

from tests.fake_architectures import Valid


class Plugin(Valid):
    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        mixed, after = super().forward(x, state)
        return (mixed.double() * 1.0).to(x.dtype), after
