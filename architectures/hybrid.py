"""Hybrids: a stack whose layers are other architectures, in a pattern that the YAML lists."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from architectures.interface import Backbone
from architectures.layers import RMSNorm, SwiGLU, feed_width, require_positive


class Hybrid(Backbone):
    """Layers of several kinds, such as Griffin (arXiv:2402.19427) and Jamba (arXiv:2403.19887).

    `parts`: under a name, the `_target_` of an architecture and its options; `layers: 1` among
    them makes it one layer. `pattern`: the names in their order, repeated up to `layers`. Any
    Backbone can be a part: it brings its own norms, residuals and state. The hybrid is causal
    where each part is.
    """

    def __init__(
        self,
        width: int,
        context: int,
        pattern: Sequence[str],
        parts: Mapping[str, Any],
        layers: int = 4,
    ) -> None:
        super().__init__(width, context)
        if not pattern or any(name not in parts for name in pattern):
            raise TypeError(
                f"pattern={list(pattern)} must name layers out of parts: {', '.join(parts)}"
            )
        names = [pattern[i % len(pattern)] for i in range(require_positive("layers", layers))]
        self.layers = nn.ModuleList(_build_part(parts[name], width, context) for name in names)
        self.causal = all(layer.causal for layer in self._layers())

    def _layers(self) -> list[Backbone]:
        return list(self.layers)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, state: list[Any] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Any] | None]:
        after = []
        for i, layer in enumerate(self.layers):
            x, kept = layer(x, None if state is None else state[i], lengths)
            after.append(kept)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Any]:
        """Return the states of the layers."""
        return [layer.init_state(batch, length, like) for layer in self._layers()]

    def initialise(self) -> None:
        """Let each layer set what it needs."""
        for layer in self._layers():
            layer.initialise()

    def state_bytes(self, state: list[Any]) -> int:
        """Sum the bytes of the layers' states."""
        pairs = zip(self._layers(), state, strict=True)
        return sum(layer.state_bytes(part) for layer, part in pairs)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Sum over the layers."""
        return sum(layer.flops(length, full_mask) for layer in self._layers())

    def unchecked_flops(self, length: int) -> float:
        """Sum over the layers."""
        return sum(layer.unchecked_flops(length) for layer in self._layers())

    def auxiliary(self) -> Tensor | None:
        """Sum over the layers that have such a loss."""
        losses = [loss for layer in self._layers() if (loss := layer.auxiliary()) is not None]
        return sum(losses[1:], losses[0]) if losses else None


class FeedForward(Backbone):
    """A part without memory, x + SwiGLU(norm(x)), beside parts without a feed-forward network."""

    causal = True

    def __init__(self, width: int, context: int, layers: int = 1) -> None:
        super().__init__(width, context)
        self.hidden = feed_width(width, 8 / 3)
        pairs = [
            (RMSNorm(width), SwiGLU(width, self.hidden))
            for _ in range(require_positive("layers", layers))
        ]
        self.norms = nn.ModuleList(norm for norm, _ in pairs)
        self.feeds = nn.ModuleList(feed for _, feed in pairs)

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        for norm, feed in zip(self.norms, self.feeds, strict=True):
            x = x + feed(norm(x))
        return x, state

    def init_state(self, batch: int, length: int, like: Tensor) -> tuple[()]:
        """Return an empty tuple."""
        return ()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 6·D·hidden ≈ 16·D², for any T."""
        return len(self.feeds) * 6 * self.width * self.hidden


def _build_part(part: Mapping[str, Any], width: int, context: int) -> Backbone:
    """Return the architecture that a part describes. Raise TypeError where it is none."""
    module, _, name = str(part.get("_target_", "")).rpartition(".")
    if not module:
        raise TypeError(
            "each part needs a _target_ such as architectures.rglru.RGLRU, "
            f"and one has {dict(part)}"
        )
    options = {key: value for key, value in part.items() if key != "_target_"}
    backbone = getattr(importlib.import_module(module), name)(width, context, **options)
    if not isinstance(backbone, Backbone):
        raise TypeError(f"{module}.{name} is not a Backbone, and so cannot be a part of a hybrid")
    return backbone
