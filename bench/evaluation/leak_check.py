"""Prove on scores as recorded that each depends on the weights and its own past alone.

A scored batch is scored again by the same function, at the same shape, mode and precision, with
its rows in another order, tokens replaced from another position on in each row, and some rows
replaced wholly. The nats of all targets before the replaced tokens have to be those recorded. One
forward pass thus looks for what follows a target, other rows of its batch, and batches before it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.config.errors import InvalidRun
from bench.model.contract.perturbation import (
    MIN_CUTS,
    NOISE_FACTOR,
    changed_parameters,
    draw_cuts,
)
from bench.training import Objective, TrainSettings

# nats that rounding may change in products of a precision without being looked into
ROUNDING_NATS = {torch.float32: 1e-5, torch.bfloat16: 1e-3}
# nats that the same batch may differ by when it is scored again; some sums on GPUs have no order
SAME_INPUT_NATS = {"cpu": 1e-6, "cuda": 1e-2}
# by which equal prefixes may differ in batches of other shapes, before a batch is checked
PREFIX_ROUNDING_NATS = 1e-4
BATCHES_PER_CHECK = 100  # of the batches that are scored, one in so many is checked
REPEATS = 3  # of a suspicious batch; what each of them changes beyond rounding is a leak
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
            _check_repeatable(batch, settings)
            _confirm(objective, batch, perturbation, random, rounding)


def _check_repeatable(batch: ScoredBatch, settings: TrainSettings) -> None:
    """Raise LeakDetected where the same tokens get other nats than they got before."""
    distance = _distance(batch.rescore(batch.tokens, np.arange(len(batch.tokens))), batch.nats)
    if distance.max() > SAME_INPUT_NATS[settings.device.type]:
        cause = "nothing but what was scored before it changes"
        raise LeakDetected(_leak_message(batch, cause, distance > 0, distance))


def _draw_perturbation(batch: ScoredBatch, random: np.random.Generator) -> Perturbation:
    """Draw an order and cuts; rows that do not read from left to right are replaced wholly."""
    rows, length = batch.tokens.shape
    order = np.arange(rows) if batch.fixed_order else random.permutation(rows)
    if batch.causal:
        return Perturbation(order, draw_cuts(rows, length, random))
    return Perturbation(order, np.where(random.permutation(rows) % 2 == 0, length, 0))


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
        order, cuts = perturbation
        rows_only = Perturbation(order, np.where(cuts > 0, batch.tokens.shape[1], 0))
        by_rows = (repeated(rows_only) > allowed).any()
        cause = "other rows of its batch change" if by_rows else "tokens after it change"
        raise LeakDetected(_leak_message(batch, cause, changes > allowed, changes))


def _leak_message(batch: ScoredBatch, cause: str, leaks: np.ndarray, changes: np.ndarray) -> str:
    return (
        f"leak: by {batch.protocol}, the score of {leaks.sum():,} of {leaks.size:,} targets "
        f"changes when {cause}, by up to {changes.max():.3g} nats"
    )


def _noise(objective: Objective, batch: ScoredBatch, seed: int) -> float:
    """Return the largest change of the nats where every weight changes by rounding."""
    with changed_parameters(objective.model, seed):
        again = batch.rescore(batch.tokens, np.arange(len(batch.tokens)))
    return float(_distance(again, batch.nats).max())
