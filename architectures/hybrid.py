"""Hybrids: a stack whose layers are other architectures, named in a pattern, as a YAML lists them."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from architectures.interface import Backbone
from architectures.layers import RMSNorm, require_positive
from architectures.transformer import SwiGLU, feed_width


class Hybrid(Backbone):
    """Layers of several kinds in turns, such as Griffin (arXiv:2402.19427) and Jamba (Lieber et al. 2024, arXiv:2403.19887).

    `parts`: under a name, the `_target_` of an architecture and its options; `layers: 1` among them makes it one layer.
    `pattern`: the names in their order, repeated until there are `layers` of them. Any class that is a Backbone is a part:
    it brings its own norms, residuals and state. It is causal where each part is.
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
        unknown = [name for name in pattern if name not in parts]
        if unknown or not pattern:
            raise TypeError(
                f"pattern={list(pattern)} must name layers out of parts: {', '.join(parts)}"
            )
        names = [
            pattern[layer % len(pattern)] for layer in range(require_positive("layers", layers))
        ]
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
        """The state of each layer. It grows with the text as the largest of them does."""
        return [layer.init_state(batch, length, like) for layer in self._layers()]

    def initialise(self) -> None:
        """Each layer as it asks for."""
        for layer in self._layers():
            layer.initialise()

    def state_bytes(self, state: list[Any]) -> int:
        return sum(
            layer.state_bytes(part) for layer, part in zip(self._layers(), state, strict=True)
        )

    def flops(self, length: int, full_mask: bool = False) -> float:
        """The sum over the layers."""
        return sum(layer.flops(length, full_mask) for layer in self._layers())

    def unchecked_flops(self, length: int) -> float:
        """The sum over the layers."""
        return sum(layer.unchecked_flops(length) for layer in self._layers())

    def auxiliary(self) -> Tensor | None:
        """The sum over the layers that have one."""
        losses = [
            loss for loss in (layer.auxiliary() for layer in self._layers()) if loss is not None
        ]
        return sum(losses[1:], losses[0]) if losses else None


class FeedForward(Backbone):
    """A part without memory: x + SwiGLU(norm(x)), for the parts of a hybrid that bring no feed-forward network."""

    causal = True

    def __init__(self, width: int, context: int, layers: int = 1) -> None:
        super().__init__(width, context)
        self.hidden = feed_width(width, 8 / 3)
        pairs = [
            (RMSNorm(width), SwiGLU(width, self.hidden))
            for _ in range(require_positive("layers", layers))
        ]
        self.norms, self.feeds = (
            nn.ModuleList(norm for norm, _ in pairs),
            nn.ModuleList(feed for _, feed in pairs),
        )

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        for norm, feed in zip(self.norms, self.feeds, strict=True):
            x = x + feed(norm(x))
        return x, state

    def init_state(self, batch: int, length: int, like: Tensor) -> tuple[()]:
        """There is nothing to keep."""
        return ()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer 6·D·hidden ≈ 16·D². The same for any T."""
        return len(self.feeds) * 6 * self.width * self.hidden


def _build_part(part: Mapping[str, Any], width: int, context: int) -> Backbone:
    """The architecture that a part describes. Raises TypeError where it is none."""
    module, _, name = str(part.get("_target_", "")).rpartition(".")
    if not module:
        raise TypeError(
            f"each part needs a _target_ such as architectures.rglru.RGLRU, and one has {dict(part)}"
        )
    made = getattr(importlib.import_module(module), name)(
        width, context, **{k: v for k, v in part.items() if k != "_target_"}
    )
    if not isinstance(made, Backbone):
        raise TypeError(f"{module}.{name} is no Backbone, and so no part of a hybrid")
    return made
