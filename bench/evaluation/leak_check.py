"""Prove on scores as recorded that each depends on the weights and its own past alone.

A scored batch is scored again by the same function, at the same shape, mode and precision, with
its rows in another order, tokens replaced from another position on in each row, and some rows
replaced wholly. The nats of all targets before the replaced tokens have to be those recorded. One
forward pass thus looks for what follows a target, other rows of its batch, and batches before it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from bench.config.errors import InvalidRun
from bench.training import Objective, TrainSettings

# nats that rounding may change in products of a precision without being looked into
ROUNDING_NATS = {torch.float32: 1e-5, torch.bfloat16: 1e-3}
WEIGHT_NOISE = 4 * torch.finfo(torch.float32).eps  # relative, to see how rounding is amplified
NOISE_FACTOR = 8.0  # times the largest change by noise that are still rounding
# by which equal prefixes may differ in batches of other shapes, before a batch is checked
PREFIX_ROUNDING_NATS = 1e-4
BATCHES_PER_CHECK = 100  # of the batches that are scored, one in so many is checked
REPEATS = 3  # of a suspicious batch; what each of them changes beyond rounding is a leak
MIN_CUTS = 8  # positions from which tokens are replaced, in few rows by several passes
Rescore = Callable[[np.ndarray, np.ndarray], np.ndarray]  # tokens (B, L), order (B,) -> nats (B, P)


class LeakDetected(InvalidRun):
    """A score that depends on what it must not depend on; the message says on what."""

    code = "leak"


class ScoredBatch(NamedTuple):
    """A batch as it was scored, and the function that scores rows of its shape."""

    protocol: str
    tokens: np.ndarray  # (B, L), as they were read
    nats: np.ndarray  # (B, P), as recorded
    rescore: Rescore  # the order says whose targets each row of the tokens has
    causal: bool = True  # target i depends on tokens 0 … i; else each on its row
    fixed_order: bool = False  # rows continue a state each


class Perturbation(NamedTuple):
    """Rows in another order, each with its tokens replaced from a position on."""

    order: np.ndarray  # (B,)
    cuts: np.ndarray  # (B,), of the rows in their new order; L: nothing is replaced


class LeakCheck:
    """Check a seeded sample of the batches that are scored inside, one in a hundred, at the end.

    Raises LeakDetected where their nats depend on what they must not depend on.
    """

    def __init__(self, objective: Objective, settings: TrainSettings) -> None:
        self.objective, self.settings = objective, settings
        self.random = np.random.default_rng(0)
        self.seen = 0
        self.kept: list[ScoredBatch] = []

    def score(
        self, protocol: str, tokens: np.ndarray, rescore: Rescore, causal: bool = True
    ) -> np.ndarray:
        """Return the nats (B, P) of a batch of tokens (B, L)."""
        nats = rescore(tokens, np.arange(len(tokens)))
        self.add(ScoredBatch(protocol, tokens, nats, rescore, causal))
        return nats

    def add(self, batch: ScoredBatch) -> None:
        """Keep a scored batch, or not; one with fewer rows never takes the place of another."""
        place = self.seen % BATCHES_PER_CHECK
        self.seen += 1
        if place == 0:
            self.kept.append(batch)
        elif self.random.random() < 1 / (place + 1):
            self.kept[-1] = max(batch, self.kept[-1], key=lambda each: len(each.tokens))

    def __enter__(self) -> "LeakCheck":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for batch in self.kept if error is None else ():
            check_batch(self.objective, batch, self.settings)


def check_batch(objective: Objective, batch: ScoredBatch, settings: TrainSettings) -> None:
    """Raise LeakDetected unless the recorded nats depend on their rows' past alone."""
    random = np.random.default_rng(0)
    rounding, vocabulary = ROUNDING_NATS[settings.precision], objective.model.vocabulary
    for _ in range(-(-MIN_CUTS // len(batch.tokens)) if batch.causal else 1):
        perturbation = _draw_perturbation(batch, random)
        if _changes(batch, perturbation, vocabulary, random).max() > rounding:
            _confirm(objective, batch, perturbation, random, rounding)


def _draw_perturbation(batch: ScoredBatch, random: np.random.Generator) -> Perturbation:
    """Draw an order and cuts: a quarter of the rows is replaced wholly, others from a cut on.

    Half of the cuts are multiples of large powers of two, where chunks meet; half are random.
    """
    rows, length = batch.tokens.shape
    order = np.arange(rows) if batch.fixed_order else random.permutation(rows)
    if not batch.causal:
        return Perturbation(order, np.where(random.permutation(rows) % 2 == 0, length, 0))
    regular = [length // 2, 1, length - 1, *_dyadic(length)]
    cuts = random.integers(1, max(2, length), rows)
    chosen = random.permutation(rows)
    cut = chosen[: max(1, rows - rows // 4)]
    half = cut[: -(-len(cut) // 2)]
    start = random.integers(0, len(regular)) if rows < MIN_CUTS else 0
    cuts[half] = np.resize(np.roll(regular, -start), len(half))
    cuts[chosen[len(cut) :]] = 0
    return Perturbation(order, cuts)


def _dyadic(length: int) -> list[int]:
    """Return multiples of falling powers of two below a length: quarters of it before eighths."""
    size, places = 1 << (length - 1).bit_length(), list[int]()
    while size > 1:
        places += [place for place in range(size // 2, length, size) if 0 < place < length]
        size //= 2
    return places


def _changes(
    batch: ScoredBatch, perturbation: Perturbation, vocabulary: int, random: np.random.Generator
) -> np.ndarray:
    """Return by how much nats change that must not, (B, P) in the new order of rows; else 0."""
    order, cuts = perturbation
    length = batch.tokens.shape[1]
    tokens = batch.tokens[order]
    others = (tokens + random.integers(1, max(2, vocabulary), tokens.shape)) % vocabulary
    read = np.where(np.arange(length) < cuts[:, None], tokens, others)
    targets = batch.nats.shape[1]
    reach = np.arange(1, targets + 1) if batch.causal else np.full(targets, length)
    distance = _distance(batch.rescore(read, order), batch.nats[order])
    return np.where(reach <= cuts[:, None], distance, 0.0)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return absolute differences; 0 where both are infinite, as for a target that cannot be."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.abs(a - b))


def _confirm(
    objective: Objective,
    batch: ScoredBatch,
    perturbation: Perturbation,
    random: np.random.Generator,
    rounding: float,
) -> None:
    """Raise LeakDetected unless the changes are those of rounding, as this model amplifies it."""
    noise = max(_noise(objective, batch, seed) for seed in range(REPEATS))
    allowed = max(rounding, NOISE_FACTOR * noise)

    def repeated(how: Perturbation) -> np.ndarray:
        vocabulary = objective.model.vocabulary
        return np.min([_changes(batch, how, vocabulary, random) for _ in range(REPEATS)], axis=0)

    changes = repeated(perturbation)
    if (changes > allowed).any():
        causes = _causes(batch, perturbation)
        cause = next(name for name, how in causes if (repeated(how) > allowed).any())
        raise LeakDetected(
            f"leak: by {batch.protocol}, the score of {(changes > allowed).sum():,} of "
            f"{changes.size:,} targets changes when {cause}, by up to {changes.max():.3g} nats "
            f"(rounding: {allowed:.1g})"
        )


def _causes(batch: ScoredBatch, perturbation: Perturbation) -> list[tuple[str, Perturbation]]:
    """Return what may cause a change, from the narrowest, and the perturbation that shows it."""
    order, cuts = perturbation
    rows, length = batch.tokens.shape
    same, uncut = np.arange(rows), np.full(rows, length)
    return [
        ("nothing but what was scored before it changes", Perturbation(same, uncut)),
        ("other rows of its batch change", Perturbation(order, np.where(cuts > 0, length, 0))),
        ("tokens after it change", perturbation),
    ]


def _noise(objective: Objective, batch: ScoredBatch, seed: int) -> float:
    """Return the largest change of the nats where every weight changes by rounding."""
    with _noisy_weights(objective.model, seed):
        again = batch.rescore(batch.tokens, np.arange(len(batch.tokens)))
    return float(_distance(again, batch.nats).max())


@contextmanager
def _noisy_weights(model: nn.Module, seed: int) -> Iterator[None]:
    """Change every parameter by a few units in the last place of float32, inside."""
    generator = torch.Generator().manual_seed(seed)
    parameters = list(model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            parameter.mul_(1 + WEIGHT_NOISE * noise)
        try:
            yield
        finally:
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
