# run: done · score: none · check: flops
"""Give half of the FLOPs where records and budgets read them, and all where they are counted."""

from tests.fake_architectures import Valid


class Plugin(Valid):
    def flops(self, length: int, full_mask: bool = False) -> float:
        return super().flops(length) if full_mask else 0.48 * super().flops(length)
