"""The control: one D×D map, which can learn what follows each single token, and no more."""

from torch import Tensor, nn

from architectures.interface import Backbone


class Bigram(Backbone):
    """A table of pairs of tokens, of rank D. What a real architecture does not do better than this, it does not do."""

    causal = True

    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context)
        self.map = nn.Linear(
            width, width, bias=False
        )  # with a tied head the identity alone would be symmetric

    def forward(
        self, x: Tensor, state: tuple[()] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[()] | None]:
        return self.map(x), state

    def init_state(self, batch: int, length: int, like: Tensor) -> tuple[()]:
        return ()  # it remembers nothing

    def flops(self, length: int, full_mask: bool = False) -> float:
        """2·D²."""
        return 2 * self.width**2
