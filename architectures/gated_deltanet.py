"""Gated DeltaNet: linear attention that replaces what a key had stored instead of adding to it, and forgets by a gate."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.interface import Backbone
from architectures.kernels import Kernels, Recurrence
from architectures.layers import RMSNorm, require_positive
from architectures.linear import chunks, decays_between, in_float32, into_chunks, out_of_chunks
from architectures.short_convolution import ShortConvolution
from architectures.transformer import SwiGLU, feed_width


@in_float32
def gated_delta_rule(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    decays: Tensor,
    strengths: Tensor,
    state: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """y_t = S_tᵀ·q_t with S_t = exp(g_t)·S_{t-1} + k_t·u_tᵀ, and u_t = β_t·(v_t - exp(g_t)·S_{t-1}ᵀ·k_t): what is new in v_t.

    Queries and keys (B, T, H, K), values (B, T, H, V), decays g in logarithms and strengths β (B, T, H), the state S
    (B, H, K, V) or None for zeros. Returns y (B, T, H, V) and the next state, or None where none was given.

    Within a chunk the u solve a triangular system (section 3.3 of the paper): each is what its token has to say less what
    the earlier ones of the chunk said under similar keys.
    """
    length, (count, size) = queries.shape[1], chunks(queries.shape[1], chunk)
    queries, keys, values = (
        into_chunks(each, count, size) for each in (queries, keys, values)
    )  # (B, n, H, C, K or V)
    since, strengths = (
        into_chunks(each.unsqueeze(-1), count, size) for each in (decays, strengths)
    )  # (B, n, H, C, 1)
    since = since.cumsum(-2)
    between, scaled = decays_between(since), strengths * keys
    system = (
        scaled @ keys.mT
    ) * between  # its diagonal is taken as ones, and what is above as zeros
    news = torch.linalg.solve_triangular(
        system, strengths * values, upper=False, unitriangular=True
    )
    weights = queries @ keys.mT * between  # (B, n, H, C, C)
    if state is None and count == 1:
        return out_of_chunks(weights @ news, length), None
    known = torch.linalg.solve_triangular(
        system, scaled * since.exp(), upper=False, unitriangular=True
    )
    until = since[..., -1:, :]  # the decay of the whole chunk
    asking, writing, kept = queries * since.exp(), (keys * (until - since).exp()).mT, until.exp()
    current = (
        values.new_zeros(*keys.shape[:1], *keys.shape[2:3], keys.shape[-1], values.shape[-1])
        if state is None
        else state
    )
    mixed = []
    for index in range(count):
        new = news[:, index] - known[:, index] @ current
        mixed.append(asking[:, index] @ current + weights[:, index] @ new)
        current = kept[:, index] * current + writing[:, index] @ new
    return out_of_chunks(torch.stack(mixed, dim=1), length), None if state is None else current


class Memory(NamedTuple):
    """What a block keeps: the last inputs of its convolution, and its states (B, H, K, V)."""

    past: Tensor
    state: Tensor


class Mixer(nn.Module):
    """(B, T, D) -> (B, T, D): queries, keys and values through a short convolution, the delta rule, a norm a head and a gate."""

    def __init__(
        self,
        width: int,
        heads: int,
        key_width: int,
        value_width: int,
        kernel: int,
        chunk: int,
        kernels: Kernels,
    ) -> None:
        super().__init__()
        self.heads, self.chunk = heads, chunk
        self.keys, self.values = heads * key_width, heads * value_width
        convolved = 2 * self.keys + self.values
        self.into = nn.Linear(
            width, convolved + self.values + 2 * heads, bias=False
        )  # those three, gate, strength, decay
        self.convolution = ShortConvolution(convolved, kernel, bias=False)
        self.recurrence = Recurrence(gated_delta_rule, "gated_delta_rule", kernels)
        self.step_bias = nn.Parameter(torch.zeros(heads))
        self.log_rate = nn.Parameter(torch.zeros(heads))
        self.norm = RMSNorm(value_width)
        self.out = nn.Linear(self.values, width, bias=False)

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory | None]:
        parts = [2 * self.keys + self.values, self.values, self.heads, self.heads]
        mixed, gate, strength, step = self.into(x).split(parts, dim=-1)
        mixed, past = self.convolution(mixed, None if memory is None else memory.past)
        split = functional.silu(mixed).split([self.keys, self.keys, self.values], dim=-1)
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)) for part in split
        )  # (B, T, H·K) -> (B, T, H, K)
        read, state = self.recurrence(
            unit(queries) / math.sqrt(queries.shape[-1]),
            unit(keys),
            values,
            -self.log_rate.exp() * functional.softplus(step + self.step_bias),
            strength.sigmoid(),
            None if memory is None else memory.state,
            self.chunk,
        )
        read = self.norm(read).flatten(2) * functional.silu(gate)  # (B, T, H, V) -> (B, T, H·V)
        return self.out(read), None if past is None or state is None else Memory(past, state)


def unit(x: Tensor) -> Tensor:
    """Of length 1 along the last axis."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


class Block(nn.Module):
    def __init__(self, width: int, mixer: Mixer, hidden: int, dropout: float) -> None:
        super().__init__()
        self.mixer_norm, self.mixer = RMSNorm(width), mixer
        self.feed_norm, self.feed = RMSNorm(width), SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor, Memory | None]:
        mixed, memory = self.mixer(self.mixer_norm(x), memory)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.feed(self.feed_norm(x))), memory


class GatedDeltaNet(Backbone):
    """Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464.

    As in the paper's models, queries and keys take 3/4 of D together and values twice as much as they: heads of
    3/4·D / H and twice that, rounded up to even widths, so that any D is accepted.
    """

    causal = True

    def __init__(
        self,
        width: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        kernel: int = 4,
        chunk: int = 64,
        kernels: Kernels = "auto",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, context)
        self.heads, self.chunk = require_positive("heads", heads), require_positive("chunk", chunk)
        self.key_width = 2 * -(-3 * width // (8 * heads))  # 3/4·D / H, rounded up to an even number
        self.value_width, self.hidden = 2 * self.key_width, feed_width(width, 8 / 3)
        self.kernel, self.convolved = kernel, heads * (2 * self.key_width + self.value_width)
        mixer = (width, heads, self.key_width, self.value_width, kernel, chunk, kernels)
        blocks = (
            Block(width, Mixer(*mixer), self.hidden, dropout)
            for _ in range(require_positive("layers", layers))
        )
        self.blocks = nn.ModuleList(blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: list[Memory] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, list[Memory] | None]:
        x, after = self.dropout(x), []
        for layer, block in enumerate(self.blocks):
            x, memory = block(x, None if state is None else state[layer])
            after.append(memory)
        return x, None if state is None else after

    def init_state(self, batch: int, length: int, like: Tensor) -> list[Memory]:
        past = like.new_zeros(batch, self.kernel - 1, self.convolved)
        empty = like.new_zeros(batch, self.heads, self.key_width, self.value_width)
        return [Memory(past.clone(), empty.clone()) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Decays as in Mamba-2: steps between 0.001 and 0.1, evenly in logarithms, and rates up to 16."""
        for block in self.blocks:
            assert isinstance(block, Block)
            step = torch.exp(
                torch.empty_like(block.mixer.step_bias).uniform_(math.log(1e-3), math.log(1e-1))
            )
            block.mixer.step_bias.copy_(
                step + torch.log(-torch.expm1(-step))
            )  # the inverse of softplus
            block.mixer.log_rate.uniform_(0.01, 16).log_()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Each layer, with E = H·K ≈ 3/4·D: 2·D·(6·E + 2·H) in and 4·E·D out, 6·D·hidden for the feed-forward; and of the rule,
        with C tokens a chunk, (4·E + 4·E)·(C + 1)/2 (8·E·C over the whole square) and, beyond one chunk, 12·E·K."""
        keys, (count, size) = self.heads * self.key_width, chunks(length, self.chunk)
        maps = (
            2 * self.width * (6 * keys + 2 * self.heads)
            + 4 * keys * self.width
            + 6 * self.width * self.hidden
        )
        pairs = 8 * keys * (size if full_mask else (size + 1) / 2)
        rule = pairs + (12 * keys * self.key_width if count > 1 else 0)
        return len(self.blocks) * (maps + rule * count * size / length)

    def unchecked_flops(self, length: int) -> float:
        """Each layer: 2·kernel·4·E for the convolution, a sum of shifted inputs; and for the triangular systems 2·E·C, or 3·E·C
        beyond one chunk."""
        count, size = chunks(length, self.chunk)
        solving = (
            self.heads * self.key_width * size * (3 if count > 1 else 2) * count * size / length
        )
        return len(self.blocks) * (2 * self.kernel * self.convolved + solving)
