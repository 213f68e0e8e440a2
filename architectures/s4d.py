"""S4D: a diagonal state space model, the same at every token: each channel is convolved with a sum of damped waves."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.layers import require_positive


class DiagonalStateSpace(nn.Module):
    """y_t = Σ_m 2·Re(c_m·s_tm) + d·x_t with s_t = exp(Δ·a)·s_{t-1} + (exp(Δ·a) - 1)/a · x_t, each channel by itself.

    A channel has M = N / 2 modes; the other half are their conjugates. A chunk is convolved by way of the Fourier
    transform, and the modes go on from chunk to chunk. The modes' parameters have one axis: no matrices, they are not
    pulled towards zero by weight decay.
    """

    def __init__(self, width: int, modes: int, chunk: int) -> None:
        super().__init__()
        self.modes, self.chunk = modes, chunk
        self.log_step = nn.Parameter(torch.zeros(width))  # log Δ, (D)
        self.log_rate = nn.Parameter(torch.zeros(width * modes))  # log of -Re a, (D·M)
        self.frequency = nn.Parameter(torch.zeros(width * modes))  # Im a, (D·M)
        self.read = nn.Parameter(
            torch.zeros(width * modes * 2)
        )  # c, real beside imaginary, (D·M·2)
        self.skip = nn.Parameter(torch.ones(width))  # d, (D)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, T, D) -> (B, T, D); `state` (2·M, D, B) holds s before x, real above imaginary."""
        pieces, mixed = x.transpose(1, 2).split(self.chunk, dim=-1), []  # each (B, D, C)
        powers, weights = self.waves(pieces[0].shape[-1])
        kernel = 2 * (weights.unsqueeze(-1) * powers[..., :-1]).sum(0).real  # (M, D, C) -> (D, C)
        recall = 2 * weights.unsqueeze(-1) * powers[..., 1:]  # (M, D, C)
        recall = torch.cat([recall.real, -recall.imag]).permute(1, 2, 0)  # (D, C, 2·M)
        current = state
        for index, piece in enumerate(pieces):
            size = piece.shape[-1]
            read = convolve(piece.to(kernel.dtype), kernel[:, :size])
            if current is not None:
                read = read + (recall[:, :size] @ current.transpose(0, 1).to(kernel.dtype)).permute(
                    2, 0, 1
                )  # (D, C, B) -> (B, D, C)
            mixed.append(read)
            if state is not None or index + 1 < len(pieces):
                current = advance(piece.to(kernel.dtype), powers[..., : size + 1], current)
        read = torch.cat(mixed, dim=-1).transpose(1, 2).to(x.dtype) + self.skip.to(x.dtype) * x
        return read, None if state is None or current is None else current.to(state.dtype)

    def waves(self, size: int) -> tuple[Tensor, Tensor]:
        """exp(Δ·a·t) for t = 0 … C, (M, D, C + 1), and c·(exp(Δ·a) - 1)/a, (M, D); both complex."""
        shape = (-1, self.modes)
        rate, frequency, step = (
            self.log_rate.view(shape).T.exp(),
            self.frequency.view(shape).T,
            self.log_step.exp(),
        )
        turn = torch.complex(-rate * step, frequency * step)  # Δ·a, (M, D)
        stride = (
            math.isqrt(size) + 1
        )  # t = stride·i + j: a product of two short tables instead of C + 1 exponentials
        steps = torch.arange(stride, dtype=step.dtype, device=step.device)
        table = (
            (turn.unsqueeze(-1) * steps).exp(),
            (turn.unsqueeze(-1) * (stride * steps)).exp(),
        )  # each (M, D, stride)
        powers = (table[1].unsqueeze(-1) * table[0].unsqueeze(-2)).flatten(-2)[..., : size + 1]
        read = torch.view_as_complex(self.read.view(-1, self.modes, 2)).T
        return powers, read * (powers[..., 1] - 1) * step / turn


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Σ_j kernel[t - j]·x[j] up to t, each channel by itself: (B, D, C) and (D, C) -> (B, D, C)."""
    size, room = x.shape[-1], 2 * x.shape[-1]
    product = torch.fft.rfft(x, room) * torch.fft.rfft(kernel, room)
    return torch.fft.irfft(product, room)[..., :size]


def advance(x: Tensor, powers: Tensor, state: Tensor | None) -> Tensor:
    """The modes after x (B, D, C) from those before it, (2·M, D, B), given exp(Δ·a·t) for t = 0 … C."""
    onwards = powers[..., :-1].flip(-1)  # to the end of the chunk
    onwards = torch.cat([onwards.real, onwards.imag]).transpose(0, 1)  # (D, 2·M, C)
    added = (onwards @ x.permute(1, 2, 0)).transpose(0, 1)  # (D, C, B) -> (2·M, D, B)
    if state is None:
        return added
    (real, imaginary), whole = state.to(added.dtype).chunk(2), powers[..., -1:]
    turned = [
        whole.real * real - whole.imag * imaginary,
        whole.real * imaginary + whole.imag * real,
    ]
    return added + torch.cat(turned)


class Block(nn.Module):
    def __init__(self, width: int, modes: int, chunk: int, dropout: float) -> None:
        super().__init__()
        self.mixer_norm, self.mixer = nn.LayerNorm(width), DiagonalStateSpace(width, modes, chunk)
        self.out = nn.Linear(width, 2 * width)  # value and gate
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in, self.feed_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mixed, state = self.mixer(self.mixer_norm(x), state)
        x = x + self.dropout(
            functional.glu(self.out(functional.gelu(mixed)), dim=-1)
        )  # (B, T, D) -> (B, T, 2·D) -> (B, T, D)
        return x + self.dropout(
            self.feed_out(functional.gelu(self.feed_in(self.feed_norm(x))))
        ), state


class S4D(Backbone):
    """Gu et al. 2022, arXiv:2206.11893, S4D-Lin; in the block that S4 has for language (Gu et al. 2021, arXiv:2111.00396): a
    gated map behind it and a feed-forward network beside it."""

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 4,
        state_width: int = 64,
        chunk: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        if state_width < 2 or state_width % 2:
            raise ValueError(
                f"state_width={state_width} must be an even number, at least 2: modes come in pairs"
            )
        self.modes, self.chunk = state_width // 2, require_positive("chunk", chunk)
        blocks = (
            Block(width, self.modes, chunk, dropout)
            for _ in range(require_positive("layers", layers))
        )
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, modes = block(x, None if state is None else state[layer])
            after.append(modes)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """N numbers a channel and layer, the same for any length."""
        return [like.new_zeros(2 * self.modes, self.width, batch) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """S4D-Lin: a = -1/2 + i·π·m, steps between 0.001 and 0.1 evenly in logarithms, and random readings."""
        for block in self.blocks:
            assert isinstance(block, Block)
            mixer = block.mixer
            mixer.log_step.uniform_(math.log(1e-3), math.log(1e-1))
            mixer.log_rate.fill_(math.log(0.5))
            mixer.frequency.copy_(math.pi * torch.arange(self.modes).repeat(self.width))
            mixer.read.normal_(0.0, math.sqrt(0.5))

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer: 4·D² for the gated map and 16·D² for the feed-forward; and for each token behind the first chunk, and each
        before the last, 2·N·D for the modes."""
        last = length - (length - 1) // self.chunk * self.chunk
        carried = 2 * length - min(self.chunk, length) - last
        return len(self.blocks) * (
            20 * self.width**2 + 4 * self.modes * self.width * carried / length
        )

    def unchecked_flops(self, length: int) -> float:
        """Each layer: D·(10·log2(2·C) + 6) for two Fourier transforms of 2·C numbers and their product, with C tokens a chunk."""
        size = min(self.chunk, length)
        return len(self.blocks) * self.width * (10 * math.log2(2 * size) + 6)
