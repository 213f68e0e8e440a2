"""Label pairs as annotators would, by Bradley and Terry's law, with flips and biases."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class Annotators:
    """A pool that shares the labels. P(first) = σ(Δgold / temperature + biases), then flips.

    The biases of a pool's members are evenly spaced from zero to twice the given ones, so that
    members disagree and their mean is what was given.
    """

    temperature: float
    flip: float = 0.0
    count: int = 1
    length_bias: float = 0.0  # log-odds for a response that is longer by the room
    position_bias: float = 0.0  # log-odds for the first of a pair

    def probabilities(self, gold: np.ndarray) -> np.ndarray:
        """Return the probability that the first is preferred by the gold (N, 2) alone, (N,)."""
        return expit((gold[:, 0] - gold[:, 1]) / self.temperature)

    def answer(
        self, gold: np.ndarray, lengths: np.ndarray, draw: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return labels (N,), 1 where the first is preferred, and which annotator gave each.

        `gold` (N, 2), and `lengths` (N, 2) as shares of the room.
        """
        annotators = draw.integers(self.count, size=len(gold))
        weight = 2 * annotators / (self.count - 1) if self.count > 1 else np.ones(len(gold))
        bias = self.length_bias * (lengths[:, 0] - lengths[:, 1]) + self.position_bias
        odds = (gold[:, 0] - gold[:, 1]) / self.temperature + weight * bias
        preferred = draw.random(len(gold)) < expit(odds)
        return (preferred ^ (draw.random(len(gold)) < self.flip)).astype(np.int64), annotators
