# run: invalid-architecture · score: none · check: flops
"""Count no number of operations."""

from tests.fake_architectures import Valid


class Plugin(Valid):
    def flops(self, length: int, full_mask: bool = False) -> float:
        return float("nan")
