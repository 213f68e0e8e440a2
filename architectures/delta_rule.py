"""The generalised delta rule of RWKV-7, in chunks."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from architectures.linear import chunks, in_float32, into_chunks, out_of_chunks

STRONGEST = math.exp(-0.5)  # a row decays by exp(-0.61) per token at most
LONGEST_CHUNK = 64  # over which that is exp(-39): far from the limits of float32


class ChunkProducts(NamedTuple):
    """What a chunk contributes whatever the state before it: both sides of its products."""

    system: Tensor  # (B, n, H, C, C): strictly lower
    stored: Tensor  # (B, n, H, C, C)
    corrected: Tensor  # (B, n, H, C, C)
    mixed: Tensor  # (B, n, H, C, C)
    reading: Tensor  # (B, n, H, 2·C, K): erased directions and reads, from the chunk's start
    writing: Tensor  # (B, n, H, 2·C, K): erased and written keys, to the chunk's end
    decay: Tensor  # (B, n, H, 1, K), in logarithms, of the full chunk


@in_float32
def generalised_delta_rule(  # noqa: PLR0913 (the layout that the kernels share)
    reads: Tensor,
    keys: Tensor,
    values: Tensor,
    decays: Tensor,
    erased: Tensor,
    rates: Tensor,
    state: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor | None]:
    """Return y_t = S_tᵀ·r_t per head, and the next state, or None where none was given.

    S_t = diag(exp(g_t))·S_{t-1} - (a_t ∘ κ_t)·(κ_tᵀ·S_{t-1}) + k_t·v_tᵀ. Reads r, keys k, values v,
    decays g in logarithms, erased directions κ and rates a are all (B, T, H, K); the state S is
    (B, H, K, K), or None for zeros; y is (B, T, H, K).

    Within a chunk u_t = -κ_tᵀ·S_{t-1} solves a triangular system; from chunk to chunk the state is
    carried by one product. Decays are counted from the middle of a chunk, which is safe because
    they are bounded: `decays` at least -0.61.
    """
    length, (count, size) = reads.shape[1], chunks(reads.shape[1], chunk)
    reads, keys, values, decays, erased, rates = (
        into_chunks(each, count, size) for each in (reads, keys, values, decays, erased, rates)
    )
    p = _products((reads, keys, decays, erased, rates))
    if state is None and count == 1:
        news = solve_strictly_lower(p.system, -p.stored @ values)
        return out_of_chunks(p.corrected @ news + p.mixed @ values, length), None
    read, after = _mix_chunks(p, values, state)
    return out_of_chunks(read, length), None if state is None else after


def _mix_chunks(p: ChunkProducts, values: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what is read, (B, n, H, C, K), and the state after the last chunk."""
    size = values.shape[-2]
    right = torch.cat([p.stored @ values, p.reading[..., :size, :]], dim=-1)
    solved = solve_strictly_lower(p.system, -right)
    # u without a state before, and what the state adds to it
    news, felt = solved.split(values.shape[-1], dim=-1)
    erasing, adding = p.writing.mT.split(size, dim=-1)  # each (B, n, H, K, C)
    added = erasing @ news + adding @ values
    before, after = advance(erasing @ felt, p.decay.exp().mT, added, state)
    read = p.corrected @ news + p.mixed @ values
    return read + (p.reading[..., size:, :] + p.corrected @ felt) @ before, after


def _products(inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> ChunkProducts:
    """Return the products within each chunk, decays counted from its middle."""
    reading, writing, middle, until = _decayed_from_middle(inputs)  # (…, 2·C, K) twice
    size = inputs[0].shape[-2]
    pairs = (reading @ writing.mT) * earlier(size, reading)  # (…, 2·C, 2·C)
    (system, stored), (corrected, mixed) = (
        rows.split(size, dim=-1) for rows in pairs.split(size, dim=-2)
    )
    to_ends = middle.exp()
    products = (system, stored, corrected, mixed)
    return ChunkProducts(*products, reading * to_ends, writing * to_ends, until)


def _decayed_from_middle(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what reads and what writes, as seen from a chunk's middle, and the decays.

    These are in logarithms: of half the chunk and of the full chunk.
    """
    reads, keys, decays, erased, rates = inputs
    since = decays.cumsum(-2)
    until = since[..., -1:, :]
    middle = until / 2
    reading = [erased * (since - decays - middle).exp(), reads * (since - middle).exp()]
    rising = (middle - since).exp()
    writing = [rates * erased * rising, keys * rising]
    return torch.cat(reading, dim=-2), torch.cat(writing, dim=-2), middle, until


def earlier(size: int, like: Tensor) -> Tensor:
    """Return which of a chunk's writes each row sees, (2·C, 2·C).

    What is erased sees those before it, what is read its own too.
    """
    strictly = torch.ones(size, size, dtype=like.dtype, device=like.device).tril(-1)
    own = torch.ones_like(strictly).tril()
    return torch.cat([strictly.repeat(1, 2), own.repeat(1, 2)])


def solve_strictly_lower(system: Tensor, right: Tensor) -> Tensor:
    """Return X of (1 + system)·X = right, for a system strictly below its diagonal."""
    return torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)


def advance(
    transition: Tensor, decay: Tensor, added: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the state before each chunk, (B, n, H, K, K), and after the last.

    Each chunk decays the state, adds a product with it, and adds `added`.
    """
    current = torch.zeros_like(added[:, 0]) if state is None else state
    before = []
    for index in range(added.shape[1]):
        before.append(current)
        current = decay[:, index] * current + transition[:, index] @ current + added[:, index]
    return torch.stack(before, dim=1), current
