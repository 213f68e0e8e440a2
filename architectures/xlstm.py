"""Extended long short-term memory: a stack of mLSTM layers, and, where asked, sLSTM layers between them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from architectures.interface import Backbone
from architectures.layers import RMSNorm, require_positive
from architectures.mlstm import MLSTM
from architectures.slstm import SLSTM
from architectures.transformer import SwiGLU, feed_width


class Block(nn.Module):
    """A layer with a memory, then a gated feed-forward network, each with a norm before it."""

    def __init__(self, width: int, memory: MLSTM | SLSTM, hidden: int, dropout: float) -> None:
        super().__init__()
        self.memory_norm = RMSNorm(width)
        self.memory = memory
        self.feed_norm = RMSNorm(width)
        self.feed = SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        mixed, after = self.memory(self.memory_norm(x), state)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed(self.feed_norm(x))), after


class XLSTM(Backbone):
    """xLSTM (Beck et al. 2024, arXiv:2405.04517), in the blocks of xLSTM-7B (Beck et al. 2025, arXiv:2503.13427).

    `slstm_at`: which layers, counted from 0, are sLSTM; xLSTM-7B has none. `chunk`: how many tokens an mLSTM mixes at once.
    """

    causal = True

    def __init__(
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
        beyond = [
            layer for layer in slstm_at if layer not in range(require_positive("layers", layers))
        ]
        if beyond:
            raise TypeError(
                f"slstm_at={list(slstm_at)} names layer {beyond[0]}, and the layers are 0 to {layers - 1}"
            )
        self.hidden = feed_width(width, 8 / 3)
        memories = [
            SLSTM(width, heads) if layer in slstm_at else MLSTM(width, heads, chunk)
            for layer in range(layers)
        ]
        self.blocks = nn.ModuleList(
            Block(width, memory, self.hidden, dropout) for memory in memories
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Any] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Any] | None]:
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, kept = block(x, None if state is None else state[layer])
            after.append(kept)
        return x, None if state is None else after

    def memories(self) -> list[MLSTM | SLSTM]:
        """The layers that remember."""
        return [module for module in self.modules() if isinstance(module, MLSTM | SLSTM)]

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Any]:
        """An mLSTM: for each head a matrix K × V, a vector K and a number. An sLSTM: seven vectors. The same for any length."""
        return [memory.init_state(batch, like) for memory in self.memories()]

    def initialise(self) -> None:
        """Gates as in xLSTM-7B."""
        for memory in self.memories():
            memory.initialise()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 6·D·hidden ≈ 16·D², and what its memory takes: see MLSTM.flops and SLSTM.flops."""
        feeds = len(self.blocks) * 6.0 * self.width * self.hidden
        return feeds + sum(memory.flops(length, full_mask) for memory in self.memories())

    def unchecked_flops(self, length: int) -> float:
        """The recurrent maps of sLSTM layers, 8·D·K, and their convolutions."""
        return sum(
            memory.unchecked_flops() for memory in self.memories() if isinstance(memory, SLSTM)
        )
