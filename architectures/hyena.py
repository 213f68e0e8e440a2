"""Hyena: gates around long convolutions, whose filters a network makes from positions alone."""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.layers import require_positive
from architectures.short_convolution import ShortConvolution

# a filter decays to TARGET after 0.3 (the first channel) to 1.5 contexts (the last)
FASTEST, SLOWEST, TARGET = 0.3, 1.5, 1e-2
FLOOR = 0.05  # of the decay: no filter vanishes
SINE = 10.0  # initial frequency of the sines in the network


class HyenaPast(NamedTuple):
    """The state of a layer: inputs of the short and of the long filter, and the long filter.

    `inputs` holds the newest first: the token at position p is at N - 1 - p, so that what is filled
    lies along the filter.
    """

    short: Tensor  # (B, kernel - 1, 3·D)
    inputs: Tensor  # (B, D, N)
    filter: Tensor  # (D, N)


class HyenaState(NamedTuple):
    """The state of each layer, and how many tokens they hold."""

    layers: list[HyenaPast]
    position: int


class Filter(nn.Module):
    """A filter of any length from its positions: waves, a network of sines, a decay per channel."""

    decay: Tensor

    def __init__(self, width: int, context: int, waves: int, hidden: int) -> None:
        super().__init__()
        self.context, self.waves = context, waves
        self.into = nn.Linear(1 + 2 * waves, hidden)
        self.between = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.out = nn.Linear(hidden, width, bias=False)
        self.frequency = nn.Parameter(torch.full((hidden,), SINE))
        rates = -math.log(TARGET) * torch.linspace(1 / FASTEST, 1 / SLOWEST, width)
        self.register_buffer("decay", rates, persistent=False)  # (D): not trained

    def forward(self, length: int) -> Tensor:
        """Return tap s of channel d, (D, length); a longer filter begins with the shorter one."""
        options: Any = {"device": self.decay.device, "dtype": self.decay.dtype}
        steps = torch.arange(length, **options)[:, None]
        time = steps / self.context  # (T, 1)
        bands = torch.linspace(1e-4, self.waves - 1, self.waves, **options)
        angles = 2 * math.pi * time * bands  # (T, waves)
        hidden = self.into(torch.cat([time, angles.cos(), -angles.sin()], dim=1))  # (T, hidden)
        for layer in self.between:
            hidden = layer((self.frequency * hidden).sin())
        taps = self.out((self.frequency * hidden).sin())  # (T, D)
        return (taps * ((-time * self.decay).exp() + FLOOR)).T

    def flops(self) -> float:
        """Count per tap of all channels: 2 per weight of the network."""
        return 2 * sum(layer.weight.numel() for layer in (self.into, *self.between, self.out))


class Operator(nn.Module):
    """Order 2: out(x1 · (h * (x2 · v))), h * the long convolution; x1, x2, v short convolutions."""

    def __init__(self, width: int, context: int, kernel: int, waves: int, hidden: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, 3 * width)
        self.short = ShortConvolution(3 * width, kernel)
        self.filter = Filter(width, context, waves, hidden)
        self.skip = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, past: HyenaPast | None, position: int
    ) -> tuple[Tensor, HyenaPast | None]:
        """Mix (B, T, D) on top of `position` tokens of a past."""
        parts, short = self.short(self.into(x), None if past is None else past.short)
        first, second, value = parts.chunk(3, dim=-1)  # each (B, T, D)
        inputs = (second * value).transpose(1, 2)  # (B, D, T)
        if past is None:
            mixed = convolve(inputs, self.filter(x.shape[1]))
        else:
            mixed = convolve_with_past(inputs, past, position)
        mixed = mixed + inputs * self.skip[:, None]
        after = None if past is None else HyenaPast(short, past.inputs, past.filter)
        return self.out(first * mixed.transpose(1, 2).to(first.dtype)), after


def convolve(inputs: Tensor, long: Tensor) -> Tensor:
    """Return Σ_s long[:, s] · inputs[:, :, t - s] for all t, (B, D, T) with (D, T) -> (B, D, T).

    By Fourier transform, in float32 at least, as half precision has none; padded to twice the
    length, so that nothing wraps around.
    """
    T, kind = inputs.shape[2], torch.promote_types(inputs.dtype, torch.float32)
    spectrum = torch.fft.rfft(inputs.to(kind), 2 * T) * torch.fft.rfft(long[:, :T].to(kind), 2 * T)
    return torch.fft.irfft(spectrum, 2 * T)[:, :, :T].to(inputs.dtype)


def convolve_with_past(inputs: Tensor, past: HyenaPast, position: int) -> Tensor:
    """Convolve T inputs behind `position` others of a past, and write them there."""
    T, room = inputs.shape[2], past.inputs.shape[2]
    end = position + T
    if end > room:
        raise ValueError(
            f"the state has room for {room} tokens, and token {end} was given: "
            "ask init_state for a longer one"
        )
    past.inputs[:, :, room - end : room - position] = inputs.flip(2)
    if T == 1:  # the inputs lie along the filter, the newest first
        return (past.inputs[:, :, room - end :] * past.filter[:, :end]).sum(dim=2, keepdim=True)
    return convolve(past.inputs[:, :, room - end :].flip(2), past.filter)[:, :, position:]


class HyenaBlock(nn.Module):
    """x + operator(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, operator: Operator, dropout: float) -> None:
        super().__init__()
        self.mix_norm = nn.LayerNorm(width)
        self.mix = operator
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, past: HyenaPast | None, position: int
    ) -> tuple[Tensor, HyenaPast | None]:
        mixed, past = self.mix(self.mix_norm(x), past, position)
        x = x + self.dropout(mixed)
        hidden = functional.gelu(self.feed_in(self.feed_norm(x)), approximate="tanh")
        return x + self.dropout(self.feed_out(hidden)), past


class Hyena(Backbone):
    """Poli et al. 2023, arXiv:2302.10866, order 2.

    `kernel`: taps of the short filters; `waves` and `hidden`: inputs and width of the network that
    makes the long ones. The state is all inputs of each long filter: Hyena is not recurrent, a
    token costs a sum over all the past.
    """

    causal = True

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        context: int,
        layers: int = 4,
        kernel: int = 3,
        waves: int = 8,
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        waves, hidden = require_positive("waves", waves), require_positive("hidden", hidden)
        sizes = (width, context, kernel, waves, hidden)
        blocks = (
            HyenaBlock(width, Operator(*sizes), dropout)
            for _ in range(require_positive("layers", layers))
        )
        self.blocks = cast(list[HyenaBlock], nn.ModuleList(blocks))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: HyenaState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, HyenaState | None]:
        after, position, x = [], 0 if state is None else state.position, self.dropout(x)
        for layer, block in enumerate(self.blocks):
            x, past = block(x, None if state is None else state.layers[layer], position)
            after.append(past)
        return x, None if state is None else HyenaState(after, position + x.shape[1])

    def init_state(self, batch: int, length: int, like: Tensor) -> HyenaState:
        """Return room for `length` inputs of each layer, and its filter, made once."""
        past = [
            HyenaPast(
                block.mix.short.init_state(batch, like),
                like.new_zeros(batch, self.width, length),
                block.mix.filter(length).detach().to(like.dtype),
            )
            for block in self.blocks
        ]
        return HyenaState(past, 0)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 8·D² for projections, 16·D² for feed-forward, and the filter's network.

        The network runs once for all rows.
        """
        return sum(24 * self.width**2 + block.mix.filter.flops() for block in self.blocks)

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: short convolutions, three real transforms of 2·T, a complex product.

        A transform takes 2.5·2·T·log2(2·T).
        """
        transforms = self.width * (15 * math.log2(2 * length) + 6 * (length + 1) / length)
        return sum(block.mix.short.flops() + transforms for block in self.blocks)
