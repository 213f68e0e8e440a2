"""Draw seeded samples of held-out text, the same for every architecture.

They depend on the data and the context alone; only those of infilling depend on the run's seed.
"""

from typing import NamedTuple

import numpy as np

from bench.data import Part
from bench.data.blocks import seeded_generator

STRETCH_CONTEXTS = 8  # contexts in a stretch that is scored
LEAD_CONTEXTS = 4  # contexts that a carried state may read before a stretch


class Stretches(NamedTuple):
    """Pieces of a part that several protocols score: tokens start + 1 … start + length of each."""

    starts: np.ndarray  # (S,) int64: offset of the token before the first that is scored
    length: int  # a multiple of the context
    lead: int  # tokens before a start that belong to no other stretch


def sample_stretches(part: Part, digest: str, context: int, count: int) -> Stretches:
    """Return up to `count` stretches of 8 contexts, at least 4 contexts apart.

    Those of a short part are as long as it allows.
    """
    available = len(part.tokens) - 1
    length, lead = STRETCH_CONTEXTS * context, LEAD_CONTEXTS * context
    if available < length + lead:
        length, lead = max(context, (available // context - 1) * context), 0
    slot = length + lead
    chosen = seeded_generator(digest, context, 1).permutation(available // slot)[:count]
    return Stretches(np.sort(chosen) * slot + lead, length, lead)


def sample_windows(
    part: Part, digest: str, context: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return up to `count` windows: their offsets (N,) and tokens (N, context) int64.

    The windows of a smaller count are among those of a larger one.
    """
    length = min(context, len(part.tokens) - 1)
    slots = (len(part.tokens) - 1) // length
    chosen = seeded_generator(digest, context, 2).permutation(slots)[:count]
    starts = 1 + np.sort(chosen) * length
    return starts, token_windows(part, starts, length)


def sample_infilling(
    part: Part, digest: str, length: int, count: int, allowed: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return up to `count` windows (N, length), and the place to fill in of each, (N,).

    It is never the first, and its token is one of the `allowed`, (V,) bool. It depends on `seed`.
    """
    draw, last = seeded_generator(digest, length, 3, seed), len(part.tokens) - length
    starts = draw.integers(1, max(2, last + 1), 4 * count)
    places = draw.integers(1, length, 4 * count)
    kept = np.flatnonzero(allowed[part.tokens[starts + places]])[:count]
    return token_windows(part, starts[kept], length), places[kept]


def token_windows(part: Part, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the tokens of windows at the offsets, (N, length) int64."""
    return np.asarray(part.tokens[np.asarray(starts)[:, None] + np.arange(length)]).astype(np.int64)


def mean_and_standard_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of independent draws and its standard error, NaN for a single draw."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return float(values.mean()), error
