"""Seeded samples of held-out text: the same for every architecture and seed, as they depend on the data and the context alone."""

from typing import NamedTuple

import numpy as np

from bench.data import Part

STRETCH_CONTEXTS, LEAD_CONTEXTS = (
    8,
    4,
)  # contexts: of a stretch that is scored, and of what a carried state may read before it


class Stretches(NamedTuple):
    """Pieces of a part that several protocols score: tokens start + 1 … start + length of each."""

    starts: np.ndarray  # (S,) int64: offset of the token before the first that is scored
    length: int  # a multiple of the context
    lead: int  # tokens before a start that belong to no other stretch


def seeded_generator(digest: str, *key: int) -> np.random.Generator:
    """Random numbers that are a function of the data's digest and a few whole numbers."""
    return np.random.default_rng([int(digest, 16), *key])


def sample_stretches(part: Part, digest: str, context: int, count: int) -> Stretches:
    """Up to `count` stretches of 8 contexts, 4 contexts or more apart; of a short part, as long as it allows."""
    there = len(part.tokens) - 1
    length, lead = STRETCH_CONTEXTS * context, LEAD_CONTEXTS * context
    if there < length + lead:
        length, lead = max(context, (there // context - 1) * context), 0
    slot = length + lead
    chosen = seeded_generator(digest, context, 1).permutation(there // slot)[:count]
    return Stretches(np.sort(chosen) * slot + lead, length, lead)


def sample_windows(
    part: Part, digest: str, context: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` windows of `context` tokens: offsets of their first ones (N,), and their tokens (N, context) int64.

    A smaller count gives some of the windows that a larger one gives.
    """
    length = min(context, len(part.tokens) - 1)
    chosen = seeded_generator(digest, context, 2).permutation((len(part.tokens) - 1) // length)[
        :count
    ]
    starts = 1 + np.sort(chosen) * length
    return starts, token_windows(part, starts, length)


def sample_infilling(
    part: Part, digest: str, length: int, count: int, asked: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` windows of `length` tokens (N, length), and a place in each whose token is to be filled in, (N,).

    Never the first place, and only where the token is one of those `asked`, (V,) bool. Other seeds ask other places.
    """
    draw, last = seeded_generator(digest, length, 3, seed), len(part.tokens) - length
    starts = draw.integers(1, max(2, last + 1), 4 * count)
    places = draw.integers(1, length, 4 * count)
    kept = np.flatnonzero(asked[part.tokens[starts + places]])[:count]
    return token_windows(part, starts[kept], length), places[kept]


def token_windows(part: Part, starts: np.ndarray, length: int) -> np.ndarray:
    """The tokens of stretches, (N, length) int64."""
    return np.asarray(part.tokens[np.asarray(starts)[:, None] + np.arange(length)]).astype(np.int64)


def mean_and_standard_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of independent draws and its standard error; NaN for that of a single one."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return float(values.mean()), error
