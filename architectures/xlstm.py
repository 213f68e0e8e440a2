"""Extended long short-term memory: mLSTM layers, and, where asked for, sLSTM layers."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from architectures.layers import BlockStack, ResidualBlock, feed_width, require_positive
from architectures.mlstm import MLSTM
from architectures.slstm import SLSTM


class XLSTM(BlockStack):
    """xLSTM (Beck et al. 2024, arXiv:2405.04517), in the blocks of xLSTM-7B (arXiv:2503.13427).

    `slstm_at`: which layers, counted from 0, are sLSTM; xLSTM-7B has none. `chunk`: how many
    tokens an mLSTM mixes at once.
    """

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        chunk: int = 64,
        slstm_at: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        indices = range(require_positive("layers", layers))
        beyond = [layer for layer in slstm_at if layer not in indices]
        if beyond:
            raise TypeError(
                f"slstm_at={list(slstm_at)} names layer {beyond[0]}, "
                f"and the layers are 0 to {layers - 1}"
            )
        self.hidden = feed_width(width, 8 / 3)

        def block(layer: int) -> ResidualBlock:
            memory = SLSTM(width, heads) if layer in slstm_at else MLSTM(width, heads, chunk)
            return ResidualBlock("memory", memory, width, self.hidden, dropout)

        self.set_blocks(layers, block, dropout)

    def memories(self) -> list[MLSTM | SLSTM]:
        """Return the layers that have a memory."""
        return [module for module in self.modules() if isinstance(module, MLSTM | SLSTM)]

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Any]:
        """Return per layer, for any length, the state of an empty text.

        An mLSTM: per head a matrix K × V, a vector K and a number. An sLSTM: seven vectors.
        """
        return [memory.init_state(batch, like) for memory in self.memories()]

    def initialise(self) -> None:
        """Set gates as in xLSTM-7B."""
        for memory in self.memories():
            memory.initialise()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 6·D·hidden ≈ 16·D², and MLSTM.flops or SLSTM.flops."""
        feeds = len(self.blocks) * 6.0 * self.width * self.hidden
        return feeds + sum(memory.flops(length, full_mask) for memory in self.memories())

    def unchecked_flops(self, length: int) -> float:
        """Count the recurrent maps of sLSTM layers, 8·D·K, and their convolutions."""
        scalar = (memory for memory in self.memories() if isinstance(memory, SLSTM))
        return sum(memory.unchecked_flops() for memory in scalar)
