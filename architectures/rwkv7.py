"""RWKV-7: a matrix per head that decays by rows, erased in one direction, written in another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.delta_rule import LONGEST_CHUNK, STRONGEST, generalised_delta_rule
from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import require_positive
from architectures.linear import chunks


class RWKVState(NamedTuple):
    """The state of a block: the last inputs of its two parts, (B, 1, D), and its matrices."""

    mixed: Tensor
    fed: Tensor
    state: Tensor  # (B, H, K, K)


@dataclass(frozen=True)
class RWKVSizes:
    """The sizes of a block: D, H, K, rank R, C."""

    width: int
    heads: int
    head_width: int
    rank: int
    chunk: int

    @property
    def inner(self) -> int:
        """Return H·K ≈ D."""
        return self.heads * self.head_width


def token_shift(x: Tensor, last: Tensor | None) -> Tensor:
    """Return the token before each, less itself, (B, T, D); before the first is `last` or zero."""
    before = x.new_zeros(x.shape[0], 1, x.shape[2]) if last is None else last
    return torch.cat([before, x[:, :-1]], dim=1) - x


class LowRank(nn.Module):
    """A map D -> R -> D', with an activation or none in between."""

    def __init__(self, width: int, rank: int, out: int, bias: bool = True) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, out, bias=bias)

    def forward(self, x: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        low = self.down(x)
        return self.up(low if activation is None else activation(low))


class TimeMixing(nn.Module):
    """Mix (B, T, D); from the second layer on, values are mixed with those of the first."""

    parameter_kinds: ClassVar[dict[str, str]] = {"shifts": "vector"}

    def __init__(self, sizes: RWKVSizes, kernels: Kernels, first: bool) -> None:
        super().__init__()
        width, inner = sizes.width, sizes.inner
        self.heads, self.chunk = sizes.heads, sizes.chunk
        self.recurrence = Recurrence(generalised_delta_rule, "generalised_delta_rule", kernels)
        # the share of the token before, for each of the six maps below
        self.shifts = nn.Parameter(torch.full((6, 1, 1, width), 0.5))
        self._add_maps(sizes, first)
        self.erased_scale = nn.Parameter(torch.full((inner,), 0.85))
        self.rate_scale = nn.Parameter(torch.ones(inner))
        self.bonus = nn.Parameter(torch.zeros(inner))
        self.norm = nn.GroupNorm(sizes.heads, inner, eps=1e-5 * sizes.head_width)
        self.out = nn.Linear(inner, width, bias=False)

    def _add_maps(self, sizes: RWKVSizes, first: bool) -> None:
        """Set the maps of the shifted input, in the order in which weights are drawn."""
        width, rank, inner = sizes.width, sizes.rank, sizes.inner
        self.reads, self.keys, self.values = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.decay, self.rate = LowRank(width, rank, inner), LowRank(width, rank, inner)
        self.gate = LowRank(width, rank, inner, bias=False)
        self.older = None if first else LowRank(width, rank, inner)

    def forward(
        self, x: Tensor, memory: RWKVState | None, first: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the mix, the next matrices, and the values of the first layer, (B, T, H·K)."""
        shift = token_shift(x, None if memory is None else memory.mixed)
        shifted = torch.addcmul(x, shift, self.shifts)  # (6, B, T, D)
        *for_rule, for_gate = shifted.unbind(0)
        parts = self._rule_inputs(for_rule, first)
        mixed, state = self._recur(parts, None if memory is None else memory.state)
        out = self.out(mixed.flatten(2) * self.gate(for_gate, torch.sigmoid))
        return out, state, parts[2] if first is None else first

    def _rule_inputs(self, shifted: list[Tensor], first: Tensor | None) -> tuple[Tensor, ...]:
        """Return reads, keys, values, decays, erased directions and rates, (B, T, H·K) each."""
        for_reads, for_decay, for_keys, for_values, for_rate = shifted
        keys, values = self.keys(for_keys), self.values(for_values)  # (B, T, H·K)
        rate = self.rate(for_rate).sigmoid()
        if self.older is not None and first is not None:
            values = torch.lerp(values, first, self.older(for_values).sigmoid())
        decays = -STRONGEST * self.decay(for_decay, torch.tanh).sigmoid()
        erased, written = keys * self.erased_scale, keys * (1 + (rate - 1) * self.rate_scale)
        return self.reads(for_reads), written, values, decays, erased, rate

    def _recur(
        self, parts: tuple[Tensor, ...], state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the rule, a norm per head and the bonus of the own token, (B, T, H, K)."""
        reads, keys, values, decays, erased, rate = (
            part.unflatten(-1, (self.heads, -1)) for part in parts
        )  # (B, T, H·K) -> (B, T, H, K)
        erased = functional.normalize(erased, dim=-1)
        inputs = (reads, keys, values, decays, erased, rate, state, self.chunk)
        read, state = self.recurrence(*inputs)
        # (B, T, H, K) -> (B·T, H·K) -> (B, T, H, K)
        read = self.norm(read.flatten(0, 1).flatten(1)).view_as(read)
        bonus = (reads * keys * self.bonus.view(self.heads, -1)).sum(-1, keepdim=True)
        return read + bonus * values, state


class ChannelMixing(nn.Module):
    """The square of a ReLU between two maps, 4·D wide, of a token mixed with the one before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.full((width,), 0.5))
        self.into = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, last: Tensor | None) -> Tensor:
        shifted = torch.addcmul(x, token_shift(x, last), self.shift)
        return self.out(functional.relu(self.into(shifted)).square())


class RWKVBlock(nn.Module):
    """x + time mixing(norm(x)), then x + channel mixing(norm(x))."""

    def __init__(self, width: int, mixing: TimeMixing, dropout: float) -> None:
        super().__init__()
        self.time_norm, self.time = nn.LayerNorm(width), mixing
        self.channel_norm, self.channel = nn.LayerNorm(width), ChannelMixing(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: RWKVState | None, first: Tensor | None
    ) -> tuple[Tensor, RWKVState | None, Tensor]:
        normed = self.time_norm(x)
        mixed, state, first = self.time(normed, memory, first)
        x = x + self.dropout(mixed)
        fed = self.channel_norm(x)
        x = x + self.dropout(self.channel(fed, None if memory is None else memory.fed))
        if state is None:
            return x, None, first
        return x, RWKVState(normed[:, -1:].clone(), fed[:, -1:].clone(), state), first


class RWKV7(Backbone):
    """Peng et al. 2025, arXiv:2503.14456, "Goose".

    The maps to decays, rates, gates and the share of the first layer's values have one rank. Heads
    are about `head_width` wide: as many as fit D best, rounded up to an even width, so that any D
    is accepted.
    """

    causal = True

    def __init__(  # noqa: PLR0913
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
        heads = max(1, round(width / require_positive("head_width", head_width)))
        head_width = 2 * -(-width // (2 * heads))  # D / H, rounded up to an even number
        rank = require_positive("rank", rank)
        self.sizes = sizes = RWKVSizes(width, heads, head_width, rank, chunk)
        self.input_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            RWKVBlock(width, TimeMixing(sizes, kernels, layer == 0), dropout)
            for layer in range(require_positive("layers", layers))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[RWKVState] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[RWKVState] | None]:
        x, first, after = self.input_norm(self.dropout(x)), None, []
        for layer, block in enumerate(self.blocks):
            x, memory, first = block(x, None if state is None else state[layer], first)
            after.append(memory)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[RWKVState]:
        """Return zeros, for any length."""
        heads, head_width = self.sizes.heads, self.sizes.head_width
        last = like.new_zeros(batch, 1, self.width)
        matrix = like.new_zeros(batch, heads, head_width, head_width)
        return [RWKVState(last.clone(), last.clone(), matrix.clone()) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Let decays run from slow to fast over channels, and deep layers shift tokens less."""
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, RWKVBlock)
            depth, time = layer / max(1, len(self.blocks) - 1), block.time
            ramp = torch.linspace(0, 1, self.sizes.inner)
            time.decay.up.bias.copy_(-6 + 6 * ramp ** (0.85 + depth**0.5))
            channels, back = torch.linspace(0, 1, self.width), 1 - layer / len(self.blocks)
            for shift, power in zip(time.shifts, (0.2, 0.9, 0.7, 0.7, 0.9, 0.2), strict=True):
                shift.copy_(1 - channels ** (power * back))
            block.channel.shift.copy_(1 - channels ** (back**4))
            if time.older is not None:
                time.older.up.bias.fill_(1.0)

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, E = H·K ≈ D, rank R: maps 8·D·E + 8·R·(D + E), feed-forward 16·D².

        The first layer has one map of low rank less. The rule, with C tokens per chunk, is
        14·E·(C + 1)/2 (14·E·C over the full square) and, beyond one chunk,
        2·E·(C + 1)/2 + 8·E·K + 2·E·K²/C.
        """
        inner, head, rank = self.sizes.inner, self.sizes.head_width, self.sizes.rank
        count, size = chunks(length, self.sizes.chunk)
        compared = size if full_mask else (size + 1) / 2
        between = 2 * inner * compared + 8 * inner * head + 2 * inner * head**2 / size
        rule = 14 * inner * compared + (between if count > 1 else 0)
        maps = 8 * self.width * inner + 8 * rank * (self.width + inner) + 16 * self.width**2
        layers = len(self.blocks) * (maps + rule * count * size / length)
        return layers - 2 * rank * (self.width + inner)

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: E·C for the triangular systems, twice that beyond one chunk."""
        count, size = chunks(length, self.sizes.chunk)
        systems = self.sizes.inner * size * (2 if count > 1 else 1)
        return len(self.blocks) * systems * count * size / length
