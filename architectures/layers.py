"""Provide what several architectures share: light modules, norms, gated feed-forward, stacks."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.gelu import gelu
from architectures.interface import Backbone

NO_MODULES: dict[str, Any] = {}


class LightModule(nn.Module):
    """A module whose call costs half of torch's, which counts when decoding token by token.

    Its own hooks and compile() work; global hooks (`torch.nn.modules.module`) are ignored.
    """

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call `forward` directly unless the module has hooks or is compiled."""
        hooked = (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
        )
        if hooked or self._compiled_call_impl is not None:
            return super().__call__(*given, **named)
        return self.forward(*given, **named)

    def __getattr__(self, name: str) -> Any:
        part = self.__dict__.get("_modules", NO_MODULES).get(name)
        return super().__getattr__(name) if part is None else part


class RMSNorm(LightModule, nn.RMSNorm):
    """Zhang & Sennrich 2019, arXiv:1910.07467.

    The weight takes the precision of the input: otherwise autocast loses the fused kernel.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        weight: Any = self._parameters["weight"]
        weight = weight if x.dtype == weight.dtype else weight.to(x.dtype)
        return torch.rms_norm(x, self.normalized_shape, weight, self.eps)


class Linear(LightModule, nn.Linear):
    """nn.Linear as a light module."""

    def forward(self, x: Tensor) -> Tensor:
        own = self._parameters
        return functional.linear(x, own["weight"], own["bias"])  # type: ignore[arg-type]


class LayerNorm(LightModule, nn.LayerNorm):
    """nn.LayerNorm as a light module."""

    def forward(self, x: Tensor) -> Tensor:
        own = self._parameters
        return torch.layer_norm(x, self.normalized_shape, own["weight"], own["bias"], self.eps)


def drop(x: Tensor, share: float, training: bool) -> Tensor:
    """Apply dropout in training; a function, as a module would cost a call per decoded token."""
    return functional.dropout(x, share) if training and share else x


def require_positive(name: str, value: int) -> int:
    """Return the value; raise ValueError where it is less than 1."""
    if value < 1:
        raise ValueError(f"{name}={value} must be at least 1")
    return value


# --- feed-forward networks ----------------------------------------------------------------


class SwiGLU(LightModule):
    """A gated feed-forward network (Shazeer 2020, arXiv:2002.05202), D -> hidden -> D."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.into = Linear(width, 2 * hidden, bias=False)  # gate and value in one product
        self.out = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.into(x).chunk(2, dim=-1)  # (B, T, D) -> two of (B, T, hidden)
        return self.out(self.activation(gate) * value)  # (B, T, hidden) -> (B, T, D)

    def activation(self, gate: Tensor) -> Tensor:
        """Apply SiLU."""
        return functional.silu(gate)


class GeGLU(SwiGLU):
    """The same with the tanh form of GELU, as in Gemma."""

    def activation(self, gate: Tensor) -> Tensor:
        """Apply GELU."""
        return gelu(gate)


def feed_width(width: int, times: float) -> int:
    """Return times·D rounded down to a multiple of 8."""
    return max(8, int(round(times * width, 6)) // 8 * 8)


# --- stacks of blocks with a state each ----------------------------------------------------


class ResidualBlock(nn.Module):
    """x + mixer(norm(x)), then x + SwiGLU(norm(x)); `kind` names the mixer in the state dict."""

    def __init__(
        self, kind: str, mixer: nn.Module, width: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.kind, self.norm_name = kind, f"{kind}_norm"
        self.add_module(self.norm_name, RMSNorm(width))
        self.add_module(kind, mixer)
        self.feed_norm = RMSNorm(width)
        self.feed = SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        parts: dict[str, Any] = self._modules
        mixed, state = parts[self.kind](parts[self.norm_name](x), state)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed(self.feed_norm(x))), state


class BlockStack(Backbone):
    """A causal backbone of blocks (x, state) -> (x, state), with dropout of their input.

    A subclass sets `blocks` and `dropout`; its state is the list of the blocks' states.
    """

    causal = True
    blocks: nn.ModuleList
    dropout: nn.Dropout

    def set_blocks(self, layers: int, block: Callable[[int], nn.Module], dropout: float) -> None:
        """Make the blocks from their indices."""
        indices: Iterable[int] = range(require_positive("layers", layers))
        self.blocks = nn.ModuleList(block(layer) for layer in indices)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Any] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Any] | None]:
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, kept = block(x, None if state is None else state[layer])
            after.append(kept)
        return x, None if state is None else after
