"""Gated DeltaNet: linear attention that replaces what a key has stored, and forgets by a gate."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.kernels import Kernels, Recurrence
from architectures.layers import BlockStack, ResidualBlock, RMSNorm, feed_width, require_positive
from architectures.linear import chunks, decays_between, in_float32, into_chunks, out_of_chunks
from architectures.mamba2 import draw_steps
from architectures.short_convolution import ConvolvedState, ShortConvolution


@in_float32
def gated_delta_rule(  # noqa: PLR0913 (the layout that the kernels share)
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    decays: Tensor,
    strengths: Tensor,
    state: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """Return y_t = S_tᵀ·q_t with S_t = exp(g_t)·S_{t-1} + k_t·u_tᵀ per head, and the next state.

    u_t = β_t·(v_t - exp(g_t)·S_{t-1}ᵀ·k_t) is what is new in v_t. Queries and keys (B, T, H, K),
    values (B, T, H, V), decays g in logarithms and strengths β (B, T, H), the state S (B, H, K, V)
    or None for zeros. y is (B, T, H, V); the next state is None where none was given.

    Within a chunk the u solve a triangular system (section 3.3 of the paper): each is the value of
    its token less what earlier ones of the chunk stored under similar keys.
    """
    length, (count, size) = queries.shape[1], chunks(queries.shape[1], chunk)
    # (B, n, H, C, K or V or 1)
    inputs = (queries, keys, values, decays.unsqueeze(-1), strengths.unsqueeze(-1))
    mixed, after = _mix_chunks(tuple(into_chunks(x, count, size) for x in inputs), state)
    return out_of_chunks(mixed, length), None if state is None else after


def _mix_chunks(inputs: tuple[Tensor, ...], state: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return what is read, (B, n, H, C, V), and the state after the last chunk.

    The state is None for a single chunk without a state before.
    """
    queries, keys, values, decays, strengths = inputs
    since = decays.cumsum(-2)  # (B, n, H, C, 1)
    between, scaled = decays_between(since), strengths * keys
    system = (scaled @ keys.mT) * between  # read as strictly lower, with ones on the diagonal
    news = solve_lower(system, strengths * values)
    weights = queries @ keys.mT * between  # (B, n, H, C, C)
    if state is None and news.shape[1] == 1:
        return weights @ news, None
    solved = (news, solve_lower(system, scaled * since.exp()))
    return _carry_state(_state_factors(queries, keys, since), weights, solved, state)


def _state_factors(queries: Tensor, keys: Tensor, since: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what reads the state before a chunk, what writes to it, and what is left of it."""
    until = since[..., -1:, :]  # the decay of the full chunk
    return queries * since.exp(), (keys * (until - since).exp()).mT, until.exp()


def _carry_state(
    factors: tuple[Tensor, Tensor, Tensor],
    weights: Tensor,
    solved: tuple[Tensor, Tensor],
    state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return what is read, (B, n, H, C, V), and the state after the last chunk.

    `factors`: of `_state_factors`; `weights` (B, n, H, C, C) between the tokens of a chunk;
    `solved`: what is new without a state before, and what a state takes from it.
    """
    (reading, writing, kept), (news, stored), mixed = factors, solved, []
    shape = (*writing[:, 0].shape[:-1], news.shape[-1])  # (B, H, K, V)
    current = news.new_zeros(shape) if state is None else state
    for i in range(news.shape[1]):
        new = news[:, i] - stored[:, i] @ current
        mixed.append(reading[:, i] @ current + weights[:, i] @ new)
        current = kept[:, i] * current + writing[:, i] @ new
    return torch.stack(mixed, dim=1), current


def solve_lower(system: Tensor, right: Tensor) -> Tensor:
    """Return X of (1 + L)·X = right, for L the part of the system strictly below its diagonal."""
    return torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)


class DeltaNetMixer(nn.Module):
    """Short convolution of queries, keys and values, delta rule, norm per head, gate: (B, T, D)."""

    def __init__(
        self, width: int, heads: int, key_width: int, kernel: int, chunk: int, kernels: Kernels
    ) -> None:
        super().__init__()
        self.heads, self.chunk, value_width = heads, chunk, 2 * key_width
        self.keys, self.values = heads * key_width, heads * value_width
        convolved = 2 * self.keys + self.values
        # queries, keys and values; gate; strength and decay
        self.into = nn.Linear(width, convolved + self.values + 2 * heads, bias=False)
        self.convolution = ShortConvolution(convolved, kernel, bias=False)
        self.recurrence = Recurrence(gated_delta_rule, "gated_delta_rule", kernels)
        self.step_bias = nn.Parameter(torch.zeros(heads))
        self.log_rate = nn.Parameter(torch.zeros(heads))
        self.norm = RMSNorm(value_width)
        self.out = nn.Linear(self.values, width, bias=False)

    def forward(
        self, x: Tensor, memory: ConvolvedState | None
    ) -> tuple[Tensor, ConvolvedState | None]:
        sizes = [2 * self.keys + self.values, self.values, self.heads, self.heads]
        mixed, gate, strength, step = self.into(x).split(sizes, dim=-1)
        past, state = (None, None) if memory is None else memory
        mixed, past = self.convolution(mixed, past)
        queries, keys, values = self.split_heads(functional.silu(mixed))
        decays = self.log_decays(step)
        inputs = (queries, keys, values, decays, strength.sigmoid(), state, self.chunk)
        read, state = self.recurrence(*inputs)
        read = self.norm(read).flatten(2) * functional.silu(gate)  # (B, T, H, V) -> (B, T, H·V)
        return self.out(read), None if past is None or state is None else ConvolvedState(
            past, state
        )

    def log_decays(self, step: Tensor) -> Tensor:
        """Return the logarithms of decays, (B, T, H)."""
        return -self.log_rate.exp() * functional.softplus(step + self.step_bias)

    def split_heads(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries of length 1/√K, keys of length 1, and values, each (B, T, H, ·)."""
        parts = mixed.split([self.keys, self.keys, self.values], dim=-1)
        # (B, T, H·K) -> (B, T, H, K)
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)) for part in parts)
        return unit(queries) / math.sqrt(queries.shape[-1]), unit(keys), values


def unit(x: Tensor) -> Tensor:
    """Normalize to length 1 along the last axis."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


class GatedDeltaNet(BlockStack):
    """Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464.

    As in the paper's models, queries and keys take 3/4·D in all and values twice as much: heads of
    3/4·D / H and twice that, rounded up to even widths, so that any D is accepted.
    """

    def __init__(  # noqa: PLR0913
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
        mixer = (width, heads, self.key_width, kernel, chunk, kernels)

        def block(_: int) -> ResidualBlock:
            return ResidualBlock("mixer", DeltaNetMixer(*mixer), width, self.hidden, dropout)

        self.set_blocks(layers, block, dropout)

    def init_state(self, batch: int, length: int, like: Tensor) -> list[ConvolvedState]:
        """Return zeros, for any length."""
        past = like.new_zeros(batch, self.kernel - 1, self.convolved)
        empty = like.new_zeros(batch, self.heads, self.key_width, self.value_width)
        return [ConvolvedState(past.clone(), empty.clone()) for _ in self.blocks]

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw decays as in Mamba-2: steps log-uniform in 0.001 … 0.1, rates up to 16."""
        for mixer in self.modules():
            if isinstance(mixer, DeltaNetMixer):
                draw_steps(mixer.step_bias)
                mixer.log_rate.uniform_(0.01, 16).log_()

    def flops(self, length: int, full_mask: bool = False) -> float:
        """Count per layer, with E = H·K ≈ 3/4·D: maps 2·D·(6·E + 2·H) + 4·E·D, and the rule.

        With C tokens per chunk the rule is 8·E·(C + 1)/2 (8·E·C over the full square) and, beyond
        one chunk, 12·E·K. Feed-forward: 6·D·hidden.
        """
        keys, (count, size) = self.heads * self.key_width, chunks(length, self.chunk)
        maps = 2 * self.width * (6 * keys + 2 * self.heads) + 4 * keys * self.width
        pairs = 8 * keys * (size if full_mask else (size + 1) / 2)
        rule = pairs + (12 * keys * self.key_width if count > 1 else 0)
        feed = 6 * self.width * self.hidden
        return len(self.blocks) * (maps + feed + rule * count * size / length)

    def unchecked_flops(self, length: int) -> float:
        """Count per layer: 2·kernel·4·E for the convolution, and the triangular systems.

        These are 2·E·C, or 3·E·C beyond one chunk.
        """
        count, size = chunks(length, self.chunk)
        systems = self.heads * self.key_width * size * (3 if count > 1 else 2)
        convolution = 2 * self.kernel * self.convolved
        return len(self.blocks) * (convolution + systems * count * size / length)
