# run: invalid-architecture · score: none · check: flops
"""Count fewer operations than none."""

from tests.fake_architectures import Valid


class Plugin(Valid):
    def flops(self, length: int, full_mask: bool = False) -> float:
        return -1e6
