"""RWKV-7: a matrix a head that every token decays row by row, erases in one direction and writes in another."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import require_positive
from architectures.linear import chunks, in_float32, into_chunks, out_of_chunks

STRONGEST = math.exp(-0.5)  # a row decays by exp(-0.61) a token at most
LONGEST_CHUNK = 64  # over which the decay is then exp(-39) at most: far from the ends of float32


@in_float32
def generalised_delta_rule(
    reads: Tensor,
    keys: Tensor,
    values: Tensor,
    decays: Tensor,
    erased: Tensor,
    rates: Tensor,
    state: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """y_t = S_tᵀ·r_t with S_t = diag(exp(g_t))·S_{t-1} - (a_t ∘ κ_t)·(κ_tᵀ·S_{t-1}) + k_t·v_tᵀ, for each head by itself.

    Reads r, keys k, values v, decays g in logarithms, erased directions κ and rates a are all (B, T, H, K); the state S is
    (B, H, K, K), or None for zeros. Returns y (B, T, H, K) and the next state, or None where none was given.

    Within a chunk, u_t = -κ_tᵀ·S_{t-1} solves a triangular system; from chunk to chunk the state goes on by one product. The
    decays are counted from the middle of a chunk, which is safe because they are bounded: `decays` at least -0.61.
    """
    length, (count, size) = reads.shape[1], chunks(reads.shape[1], chunk)
    reads, keys, values, decays, erased, rates = (
        into_chunks(each, count, size) for each in (reads, keys, values, decays, erased, rates)
    )  # (B, n, H, C, K)
    since = decays.cumsum(-2)
    until = since[..., -1:, :]  # the decay of the whole chunk
    middle = until / 2
    asking = torch.cat(
        [erased * (since - decays - middle).exp(), reads * (since - middle).exp()], dim=-2
    )  # (B, n, H, 2·C, K)
    rising = (middle - since).exp()
    written = torch.cat([rates * erased * rising, keys * rising], dim=-2)  # (B, n, H, 2·C, K)
    pairs = (asking @ written.mT) * earlier(size, reads)  # (B, n, H, 2·C, 2·C)
    (system, kept), (corrected, mixed) = (
        rows.split(size, dim=-1) for rows in pairs.split(size, dim=-2)
    )  # each (…, C, C)
    if state is None and count == 1:
        news = solve(system, -kept @ values)
        return out_of_chunks(corrected @ news + mixed @ values, length), None
    asking = asking * middle.exp()  # as from the beginning of the chunk
    written = written * middle.exp()  # as to its end
    solved = solve(system, -torch.cat([kept @ values, asking[..., :size, :]], dim=-1))
    news, felt = solved.split(
        values.shape[-1], dim=-1
    )  # what u is without a state before, and what the state adds to it
    erasing, adding = written.mT.split(size, dim=-1)  # each (B, n, H, K, C)
    before, after = advance(erasing @ felt, until.exp().mT, erasing @ news + adding @ values, state)
    read = corrected @ news + mixed @ values + (asking[..., size:, :] + corrected @ felt) @ before
    return out_of_chunks(read, length), None if state is None else after


def earlier(size: int, like: Tensor) -> Tensor:
    """Which of a chunk's writings each sees, (2·C, 2·C): what is erased only those before it, what is read its own too."""
    strictly = torch.ones(size, size, dtype=like.dtype, device=like.device).tril(-1)
    own = torch.ones_like(strictly).tril()
    return torch.cat([strictly.repeat(1, 2), own.repeat(1, 2)])


def solve(system: Tensor, right: Tensor) -> Tensor:
    """X of (1 + system)·X = right, for a system strictly below its diagonal."""
    return torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)


def advance(
    turned: Tensor, decay: Tensor, added: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The state before each chunk, (B, n, H, K, K), and after the last: each is decayed, turned by a product, and added to."""
    current = torch.zeros_like(added[:, 0]) if state is None else state
    before = []
    for index in range(added.shape[1]):
        before.append(current)
        current = decay[:, index] * current + turned[:, index] @ current + added[:, index]
    return torch.stack(before, dim=1), current


class Memory(NamedTuple):
    """What a block keeps: the last input of both its parts, (B, 1, D), and its states, (B, H, K, K)."""

    mixed: Tensor
    fed: Tensor
    state: Tensor


def differences(x: Tensor, last: Tensor | None) -> Tensor:
    """The token before each, less itself, (B, T, D); before the first is `last` (B, 1, D), or nothing."""
    before = x.new_zeros(x.shape[0], 1, x.shape[2]) if last is None else last
    return torch.cat([before, x[:, :-1]], dim=1) - x


class LowRank(nn.Module):
    """D -> rank -> D', with something bent or nothing between them."""

    def __init__(self, width: int, rank: int, out: int, bias: bool = True) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, out, bias=bias)

    def forward(self, x: Tensor, bend: Callable[[Tensor], Tensor] = lambda low: low) -> Tensor:
        return self.up(bend(self.down(x)))


class TimeMixing(nn.Module):
    """(B, T, D) -> (B, T, D). From the second layer on, values are mixed with those of the first, (B, T, H·K)."""

    def __init__(
        self,
        width: int,
        heads: int,
        head_width: int,
        rank: int,
        chunk: int,
        kernels: Kernels,
        first: bool,
    ) -> None:
        super().__init__()
        self.heads, self.chunk, inner = heads, chunk, heads * head_width
        self.recurrence = Recurrence(generalised_delta_rule, "generalised_delta_rule", kernels)
        self.shifts = nn.Parameter(
            torch.full((6, 1, 1, width), 0.5)
        )  # how much of the token before, for each of the six below
        self.reads, self.keys, self.values = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.decay, self.rate, self.gate = (
            LowRank(width, rank, inner, bias) for bias in (True, True, False)
        )
        self.older = None if first else LowRank(width, rank, inner)
        self.erased_scale, self.rate_scale = (
            nn.Parameter(torch.full((inner,), 0.85)),
            nn.Parameter(torch.ones(inner)),
        )
        self.bonus = nn.Parameter(torch.zeros(inner))
        self.norm = nn.GroupNorm(heads, inner, eps=1e-5 * head_width)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(
        self, x: Tensor, memory: Memory | None, first: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        shifted = torch.addcmul(
            x, differences(x, None if memory is None else memory.mixed), self.shifts
        )  # (6, B, T, D)
        for_reads, for_decay, for_keys, for_values, for_rate, for_gate = shifted.unbind(0)
        keys, values, rate = (
            self.keys(for_keys),
            self.values(for_values),
            self.rate(for_rate).sigmoid(),
        )  # (B, T, H·K)
        if self.older is not None and first is not None:
            values = torch.lerp(values, first, self.older(for_values).sigmoid())
        decays = -STRONGEST * self.decay(for_decay, torch.tanh).sigmoid()
        erased, written = keys * self.erased_scale, keys * (1 + (rate - 1) * self.rate_scale)
        parts = (self.reads(for_reads), written, values, decays, erased, rate)
        reads, keys, held, decays, erased, rate = (
            part.unflatten(-1, (self.heads, -1)) for part in parts
        )  # (B, T, H, K)
        state = None if memory is None else memory.state
        erased = functional.normalize(erased, dim=-1)
        read, state = self.recurrence(reads, keys, held, decays, erased, rate, state, self.chunk)
        read = self.norm(read.flatten(0, 1).flatten(1)).view_as(
            read
        )  # (B, T, H, K) -> (B·T, H·K) -> (B, T, H, K)
        read = read + (reads * keys * self.bonus.view(self.heads, -1)).sum(-1, keepdim=True) * held
        out = self.out(read.flatten(2) * self.gate(for_gate, torch.sigmoid))
        return out, state, values if first is None else first


class ChannelMixing(nn.Module):
    """The square of a ReLU between two maps, 4·D wide, of a token mixed with the one before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((width,), 0.5))
        self.into, self.out = (
            nn.Linear(width, 4 * width, bias=False),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, x: Tensor, last: Tensor | None) -> Tensor:
        hidden = self.into(
            torch.addcmul(x, differences(x, last), self.shift)
        )  # (B, T, D) -> (B, T, 4·D)
        return self.out(functional.relu(hidden).square())


class Block(nn.Module):
    def __init__(self, width: int, mixing: TimeMixing, dropout: float) -> None:
        super().__init__()
        self.time_norm, self.time = nn.LayerNorm(width), mixing
        self.channel_norm, self.channel = nn.LayerNorm(width), ChannelMixing(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: Memory | None, first: Tensor | None
    ) -> tuple[Tensor, Memory | None, Tensor]:
        normed = self.time_norm(x)
        mixed, state, first = self.time(normed, memory, first)
        x = x + self.dropout(mixed)
        fed = self.channel_norm(x)
        x = x + self.dropout(self.channel(fed, None if memory is None else memory.fed))
        after = (
            None if state is None else Memory(normed[:, -1:].clone(), fed[:, -1:].clone(), state)
        )
        return x, after, first


class RWKV7(Backbone):
    """Peng et al. 2025, arXiv:2503.14456, "Goose". The maps to decays, rates, gates and the share of the first layer's values
    have one rank.

    Heads are about `head_width` wide: as many as make D out of it best, rounded up to an even width, so that any D is accepted.
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 4,
        head_width: int = 64,
        rank: int = 32,
        chunk: int = 32,
        kernels: Kernels = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        if not 1 <= chunk <= LONGEST_CHUNK:
            raise ValueError(f"chunk={chunk} must be at least 1 and at most {LONGEST_CHUNK}")
        self.heads = max(1, round(width / require_positive("head_width", head_width)))
        self.head_width = 2 * -(-width // (2 * self.heads))  # D / H, rounded up to an even number
        self.rank, self.chunk = require_positive("rank", rank), chunk
        mixing = (width, self.heads, self.head_width, rank, chunk, kernels)
        self.input_norm = nn.LayerNorm(width)
        blocks = (
            Block(width, TimeMixing(*mixing, layer == 0), dropout)
            for layer in range(require_positive("layers", layers))
        )
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Memory] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Memory] | None]:
        x, first, after = self.input_norm(self.dropout(x)), None, []
        for layer, block in enumerate(self.blocks):
            x, memory, first = block(x, None if state is None else state[layer], first)
            after.append(memory)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Memory]:
        last, matrix = (
            like.new_zeros(batch, 1, self.width),
            like.new_zeros(batch, self.heads, self.head_width, self.head_width),
        )
        return [Memory(last.clone(), last.clone(), matrix.clone()) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Decays run from slow to fast over the channels; deeper layers look less at the token before."""
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            depth, time = layer / max(1, len(self.blocks) - 1), block.time
            ramp = torch.linspace(0, 1, self.heads * self.head_width)
            time.decay.up.bias.copy_(-6 + 6 * ramp ** (0.85 + depth**0.5))
            channels, back = torch.linspace(0, 1, self.width), 1 - layer / len(self.blocks)
            for shift, power in zip(time.shifts, (0.2, 0.9, 0.7, 0.7, 0.9, 0.2), strict=True):
                shift.copy_(1 - channels ** (power * back))
            block.channel.shift.copy_(1 - channels ** (back**4))
            if time.older is not None:
                time.older.up.bias.fill_(1.0)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer, with E = H·K ≈ D and rank R: 8·D·E for four maps, 8·R·(D + E) for those of low rank (the first layer has
        one less), 16·D² for the feed-forward; and of the rule, with C tokens a chunk, 14·E·(C + 1)/2 within it (14·E·C over the
        whole square) and, beyond one chunk, 2·E·(C + 1)/2 + 8·E·K + 2·E·K²/C."""
        inner, head, (count, size) = (
            self.heads * self.head_width,
            self.head_width,
            chunks(length, self.chunk),
        )
        compared = size if full_mask else (size + 1) / 2
        between = (
            2 * inner * compared + 8 * inner * head + 2 * inner * head**2 / size if count > 1 else 0
        )
        maps = 8 * self.width * inner + 8 * self.rank * (self.width + inner) + 16 * self.width**2
        rule = (14 * inner * compared + between) * count * size / length
        return len(self.blocks) * (maps + rule) - 2 * self.rank * (self.width + inner)

    def unchecked_flops(self, length: int) -> float:
        """Each layer: E·C for the triangular systems, and twice that beyond one chunk."""
        count, size = chunks(length, self.chunk)
        return (
            len(self.blocks)
            * self.heads
            * self.head_width
            * size
            * (2 if count > 1 else 1)
            * count
            * size
            / length
        )
