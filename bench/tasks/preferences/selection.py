"""Choose which pairs to have labelled next, from a head on fixed states. Arrays in, indices out.

N pairs, D features: the difference of the pooled states of a pair's two responses.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import entr, expit

from bench.stats import Numbers

RIDGE = 1.0  # precision of the prior on each weight of the head, features in unit variance
ENSEMBLE = 8  # heads of the strategy `disagreement`


@dataclass(frozen=True)
class Pool:
    """Pairs that may be labelled, and those that are."""

    features: Numbers  # (N, D)
    labelled: np.ndarray  # (L,) indices, in the order of labelling
    labels: Numbers  # (L,)


def fit_head(features: Numbers, labels: Numbers, ridge: float = RIDGE) -> Numbers:
    """Return the weights (D,) of the Bradley–Terry likelihood with a normal prior: convex."""

    def loss(weights: Numbers) -> tuple[float, Numbers]:
        margin = features @ weights
        nats = np.logaddexp(0, margin) - labels * margin
        gradient = features.T @ (expit(margin) - labels) + ridge * weights
        return float(nats.sum() + ridge * weights @ weights / 2), gradient

    start = np.zeros(features.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x)


def by_random(pool: Pool, count: int, draw: np.random.Generator) -> np.ndarray:
    """Return any pairs."""
    return draw.permutation(_unlabelled(pool))[:count]


def by_margin(pool: Pool, count: int, draw: np.random.Generator) -> np.ndarray:
    """Return the pairs that the head finds nearest to even."""
    rest = _unlabelled(pool)
    margin = np.abs(pool.features[rest] @ fit_head(pool.features[pool.labelled], pool.labels))
    return rest[np.argsort(margin, kind="stable")[:count]]


def by_fisher(pool: Pool, count: int, draw: np.random.Generator) -> np.ndarray:
    """Return pairs that add most to the determinant of the Fisher information, one by one.

    Its weight p(1 - p) is the head's (D-optimal design; compared in arXiv:2502.04354).
    """
    weights = fit_head(pool.features[pool.labelled], pool.labels)
    p = expit(pool.features @ weights)
    return _greedy_design(pool, count, p * (1 - p))


def by_distance(pool: Pool, count: int, draw: np.random.Generator) -> np.ndarray:
    """Return pairs that add most to the determinant of the design, whatever the head predicts."""
    return _greedy_design(pool, count, np.full(len(pool.features), 0.25))


def by_disagreement(pool: Pool, count: int, draw: np.random.Generator) -> np.ndarray:
    """Return the pairs on which an ensemble disagrees most: H(mean p) - mean H(p) (BALD)."""
    rest = _unlabelled(pool)
    probabilities = []
    for _ in range(ENSEMBLE):
        rows = draw.integers(len(pool.labelled), size=len(pool.labelled))
        head = fit_head(pool.features[pool.labelled[rows]], pool.labels[rows])
        probabilities.append(expit(pool.features[rest] @ head))
    p = np.stack(probabilities)
    gain = _binary_entropy(p.mean(axis=0)) - _binary_entropy(p).mean(axis=0)
    return rest[np.argsort(-gain, kind="stable")[:count]]


Strategy = Callable[[Pool, int, np.random.Generator], np.ndarray]
STRATEGIES: dict[str, Strategy] = {
    "random": by_random,
    "margin": by_margin,
    "fisher": by_fisher,
    "distant": by_distance,
    "disagreement": by_disagreement,
}


def _unlabelled(pool: Pool) -> np.ndarray:
    return np.setdiff1d(np.arange(len(pool.features)), pool.labelled)


def _binary_entropy(p: Numbers) -> Numbers:
    return entr(p) + entr(1 - p)


def _greedy_design(pool: Pool, count: int, weight: Numbers) -> np.ndarray:
    """Return the pairs of the largest weight·xᵀ Σ x, with Σ updated after each of them."""
    rows = pool.features * np.sqrt(weight)[:, None]  # (N, D)
    covariance = _covariance(rows[pool.labelled])
    gains = ((rows @ covariance) * rows).sum(axis=1)
    gains[pool.labelled] = -np.inf
    chosen = np.empty(min(count, len(rows) - len(pool.labelled)), np.int64)
    for place in range(len(chosen)):
        best = chosen[place] = gains.argmax()
        direction = covariance @ rows[best]
        scale = 1 / (1 + rows[best] @ direction)
        covariance -= scale * np.outer(direction, direction)
        gains -= scale * (rows @ direction) ** 2
        gains[best] = -np.inf
    return chosen


def _covariance(rows: Numbers) -> Numbers:
    """Return the posterior covariance (D, D) after weighted rows (L, D)."""
    return np.asarray(np.linalg.inv(RIDGE * np.eye(rows.shape[1]) + rows.T @ rows), np.float64)


def standardise(features: Numbers) -> Numbers:
    """Return features with unit variance; their means stay, as a pair has no order."""
    scale = np.sqrt(np.square(features).mean(axis=0))
    return features / np.where(scale > 0, scale, 1.0)
