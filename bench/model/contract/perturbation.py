"""Perturb what a model reads, or its weights, to find dependencies and the size of rounding."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

WEIGHT_NOISE = 4 * torch.finfo(torch.float32).eps  # relative, to see how rounding is amplified
NOISE_FACTOR = 8.0  # times the largest change by noise that are still rounding
NOISE_DRAWS = 3
MIN_CUTS = 8  # with fewer rows the regular cuts begin elsewhere in each draw


def draw_cuts(rows: int, length: int, random: np.random.Generator) -> np.ndarray:
    """Draw from where on each row is replaced, (B,): a quarter of the rows from 0, wholly.

    Half of the other cuts are multiples of large powers of two, where chunks meet; half are random.
    """
    cuts = random.integers(1, max(2, length), rows)
    chosen = random.permutation(rows)
    count = max(1, rows - rows // 4)
    cuts[chosen[count:]] = 0
    regular = regular_cuts(length)
    start = random.integers(0, len(regular)) if rows < MIN_CUTS else 0
    cuts[chosen[: -(-count // 2)]] = np.resize(np.roll(regular, -start), -(-count // 2))
    return cuts


def regular_cuts(length: int) -> list[int]:
    """Return the first and the last cut, then multiples of falling powers of two."""
    size, cuts = 1 << max(1, (length - 1).bit_length()), [1, max(1, length - 1)]
    while size > 1:
        cuts += range(size // 2, length, size)
        size //= 2
    return cuts


@contextmanager
def changed_parameters(model: nn.Module, seed: int, zeros: bool = False) -> Iterator[None]:
    """Change every parameter by a few units in the last place of float32, inside.

    With `zeros`, set those that are all zero to small random numbers instead, and no others: behind
    a zero matrix nothing can be seen.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = [each for each in model.parameters() if not (zeros and bool(each.any()))]
    before = [parameter.detach().clone() for parameter in chosen]
    with torch.no_grad():
        for parameter in chosen:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            if zeros:
                parameter.copy_(0.1 * noise)
            else:
                parameter.mul_(1 + WEIGHT_NOISE * noise)
        try:
            yield
        finally:
            for parameter, value in zip(chosen, before, strict=True):
                parameter.copy_(value)


def rounding_of(module: nn.Module, output_of: Callable[[], Tensor], reference: Tensor) -> float:
    """Return by how much an output may change by rounding: more than a change of all weights by it.

    `reference` is the output as it is.
    """
    changes = []
    for seed in range(NOISE_DRAWS):
        with changed_parameters(module, seed):
            changes.append((output_of() - reference).abs().max().item())
    return NOISE_FACTOR * max(changes)


def keep_before(x: Tensor, other: Tensor, cuts: Tensor) -> Tensor:
    """Return x with each row (B,) taken from `other` from its cut on; both (B, T, D)."""
    kept = torch.arange(x.shape[1], device=x.device) < cuts[:, None]  # (B, T)
    return torch.where(kept[..., None], x, other)
