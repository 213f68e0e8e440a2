"""S4D: a diagonal state space model: each channel is convolved with a sum of damped waves."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import BlockStack, require_positive


class DiagonalStateSpace(nn.Module):
    """y_t = Σ_m 2·Re(c_m·s_tm) + d·x_t, s_t = exp(Δ·a)·s_{t-1} + (exp(Δ·a) - 1)/a · x_t.

    Each channel by itself, with M = N / 2 modes; the other half are their conjugates. A chunk is
    convolved by Fourier transform, and the modes are carried from chunk to chunk. The parameters of
    the modes have one axis: they are not matrices, so that weight decay leaves them alone.
    """

    def __init__(self, width: int, modes: int, chunk: int) -> None:
        super().__init__()
        self.modes, self.chunk = modes, chunk
        self.log_step = nn.Parameter(torch.zeros(width))  # log Δ, (D)
        self.log_rate = nn.Parameter(torch.zeros(width * modes))  # log of -Re a, (D·M)
        self.frequency = nn.Parameter(torch.zeros(width * modes))  # Im a, (D·M)
        self.read = nn.Parameter(torch.zeros(width * modes * 2))  # c, real and imaginary, (D·M·2)
        self.skip = nn.Parameter(torch.ones(width))  # d, (D)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Mix (B, T, D); `state` (2·M, D, B) is s before x, real parts above imaginary ones."""
        pieces = x.transpose(1, 2).split(self.chunk, dim=-1)  # each (B, D, C)
        mixed, after = self.mix_chunks(pieces, state)
        read = torch.cat(mixed, dim=-1).transpose(1, 2).to(x.dtype) + self.skip.to(x.dtype) * x
        return read, None if state is None or after is None else after.to(state.dtype)

    def mix_chunks(
        self, pieces: tuple[Tensor, ...], state: Tensor | None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return what each chunk reads, and the state after the last where one was given."""
        mixed = []
        powers, kernel, recall = self.filters(pieces[0].shape[-1])
        current, dtype = state, kernel.dtype
        for index, piece in enumerate(pieces):
            size, piece = piece.shape[-1], piece.to(dtype)
            mixed.append(read_chunk(piece, kernel[:, :size], recall[:, :size], current))
            if state is not None or index + 1 < len(pieces):
                current = advance(piece, powers[..., : size + 1], current)
        return mixed, current

    def filters(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the powers of the modes (see `waves`) and two filters for a chunk of C tokens.

        The convolution's kernel, (D, C), and what is read of a state at each token, (D, C, 2·M).
        """
        powers, weights = self.waves(size)
        kernel = 2 * (weights.unsqueeze(-1) * powers[..., :-1]).sum(0).real  # (M, D, C) -> (D, C)
        recall = 2 * weights.unsqueeze(-1) * powers[..., 1:]  # (M, D, C)
        return powers, kernel, torch.cat([recall.real, -recall.imag]).permute(1, 2, 0)

    def waves(self, size: int) -> tuple[Tensor, Tensor]:
        """Return exp(Δ·a·t), t = 0 … C, (M, D, C + 1), and c·(exp(Δ·a) - 1)/a, (M, D); complex."""
        shape, step = (-1, self.modes), self.log_step.exp()
        rate, frequency = self.log_rate.view(shape).T.exp(), self.frequency.view(shape).T
        exponent = torch.complex(-rate * step, frequency * step).unsqueeze(-1)  # Δ·a, (M, D, 1)
        powers = exponential_powers(exponent, size, step)
        read = torch.view_as_complex(self.read.view(-1, self.modes, 2)).T
        return powers, read * (powers[..., 1] - 1) * step / exponent.squeeze(-1)


def exponential_powers(exponent: Tensor, size: int, like: Tensor) -> Tensor:
    """Return exp(exponent·t) for t = 0 … C, (M, D, 1) -> (M, D, C + 1); `like`: a real tensor."""
    # t = stride·i + j: a product of two short tables instead of C + 1 exponentials
    stride = math.isqrt(size) + 1
    steps = torch.arange(stride, dtype=like.dtype, device=like.device)
    fine, coarse = (exponent * steps).exp(), (exponent * (stride * steps)).exp()
    return (coarse.unsqueeze(-1) * fine.unsqueeze(-2)).flatten(-2)[..., : size + 1]


def read_chunk(x: Tensor, kernel: Tensor, recall: Tensor, state: Tensor | None) -> Tensor:
    """Return the convolution of a chunk, and what is read of the state before it, (B, D, C)."""
    read = convolve(x, kernel)
    if state is None:
        return read
    recalled = recall @ state.transpose(0, 1).to(x.dtype)
    return read + recalled.permute(2, 0, 1)  # (D, C, B) -> (B, D, C)


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Return Σ_j kernel[t - j]·x[j] up to t, each channel by itself, (B, D, C)."""
    size, padded = x.shape[-1], 2 * x.shape[-1]
    product = torch.fft.rfft(x, padded) * torch.fft.rfft(kernel, padded)
    return torch.fft.irfft(product, padded)[..., :size]


def advance(x: Tensor, powers: Tensor, state: Tensor | None) -> Tensor:
    """Return the modes after x (B, D, C), (2·M, D, B), from those before it.

    `powers`: exp(Δ·a·t) for t = 0 … C.
    """
    onwards = powers[..., :-1].flip(-1)  # to the end of the chunk
    onwards = torch.cat([onwards.real, onwards.imag]).transpose(0, 1)  # (D, 2·M, C)
    added = (onwards @ x.permute(1, 2, 0)).transpose(0, 1)  # (D, 2·M, B) -> (2·M, D, B)
    if state is None:
        return added
    (real, imaginary), last = state.to(added.dtype).chunk(2), powers[..., -1:]
    rotated = [
        last.real * real - last.imag * imaginary,
        last.real * imaginary + last.imag * real,
    ]
    return added + torch.cat(rotated)


class S4DBlock(nn.Module):
    """x + GLU(out(gelu(ssm(norm(x))))), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, modes: int, chunk: int, dropout: float) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(width)
        self.mixer = DiagonalStateSpace(width, modes, chunk)
        self.out = nn.Linear(width, 2 * width)  # value and gate
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in, self.feed_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mixed, state = self.mixer(self.mixer_norm(x), state)
        gated = functional.glu(self.out(functional.gelu(mixed)), dim=-1)  # (B, T, 2·D) -> (B, T, D)
        x = x + self.dropout(gated)
        hidden = functional.gelu(self.feed_in(self.feed_norm(x)))
        return x + self.dropout(self.feed_out(hidden)), state


class S4D(BlockStack):
    """Gu et al. 2022, arXiv:2206.11893, S4D-Lin, in S4's block for language.

    That block (Gu et al. 2021, arXiv:2111.00396) has a gated map behind the model and a
    feed-forward network beside it.
    """

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
        options = (width, self.modes, chunk, dropout)
        self.set_blocks(layers, lambda _: S4DBlock(*options), dropout)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Tensor]:
        """Return N numbers per layer and channel, zeros, for any length."""
        return [like.new_zeros(2 * self.modes, self.width, batch) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Set S4D-Lin: a = -1/2 + i·π·m, steps log-uniform in 0.001 … 0.1, random read-outs."""
        for block in self.blocks:
            assert isinstance(block, S4DBlock)
            mixer = block.mixer
            mixer.log_step.uniform_(math.log(1e-3), math.log(1e-1))
            mixer.log_rate.fill_(math.log(0.5))
            mixer.frequency.copy_(math.pi * torch.arange(self.modes).repeat(self.width))
            mixer.read.normal_(0.0, math.sqrt(0.5))

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer: 4·D² for the gated map, 16·D² for the feed-forward, and the modes.

        2·N·D for each token behind the first chunk, and for each before the last.
        """
        last = length - (length - 1) // self.chunk * self.chunk
        carried = 2 * length - min(self.chunk, length) - last
        modes = 4 * self.modes * self.width * carried / length
        return len(self.blocks) * (20 * self.width**2 + modes)

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: D·(10·log2(2·C) + 6), two transforms of 2·C and their product."""
        size = min(self.chunk, length)
        return len(self.blocks) * self.width * (10 * math.log2(2 * size) + 6)
