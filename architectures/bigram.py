"""The baseline: one D×D map, which learns what follows each single token, and no more."""

from torch import Tensor, nn

from architectures.interface import Backbone


class Bigram(Backbone):
    """A table of token pairs, of rank D: an architecture that is not better uses no context."""

    causal = True

    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        # with a tied head the identity alone would be symmetric
        self.map = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Tensor, state: tuple[()] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[()] | None]:
        return self.map(x), state

    def init_state(self, batch: int, length: int, like: Tensor) -> tuple[()]:
        """Return an empty tuple."""
        return ()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count 2·D²."""
        return 2 * self.width**2
