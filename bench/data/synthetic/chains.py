"""Draw one long Markov chain: windows may be cut anywhere, each starts in the stationary state."""

from bisect import bisect_right

import numpy as np

from bench.config.errors import UserError
from bench.config.schema import SyntheticConfig
from bench.data.synthetic.base import (
    Numbers,
    OraclePrediction,
    Rows,
    Sample,
    SyntheticSource,
    predict_from,
)

MAX_TABLE = 1 << 20  # probabilities
CONVERGED = 1e-15
MAX_ITERATIONS = 20_000
MIN_PROBABILITY = 1e-12  # without impossible symbols there is one stationary distribution


def dirichlet_rows(
    rows: int, width: int, concentration: float, random: np.random.Generator
) -> Numbers:
    """Draw (rows, width) probabilities from a symmetric Dirichlet distribution."""
    drawn = random.dirichlet(np.full(width, concentration), rows).clip(min=MIN_PROBABILITY)
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def sample_chain(
    transitions: Numbers, start: Numbers, count: int, random: np.random.Generator
) -> np.ndarray:
    """Draw `count` steps of a chain; context and step make the next context, modulo contexts.

    `transitions` (C, V) by context; `start` (C,) is the distribution of the first context.
    """
    context = int(random.choice(len(start), p=start))
    contexts, width = transitions.shape
    table, steps = transitions.cumsum(axis=1).tolist(), []
    for uniform in random.random(count).tolist():  # sequential: a plain loop is fastest
        step = min(bisect_right(table[context], uniform), width - 1)
        steps.append(step)
        context = (context * width + step) % contexts
    return np.asarray(steps)


def stationary(transitions: Numbers) -> Numbers:
    """Return the stationary distribution over contexts (C,); raise UserError where it is slow.

    A slow chain would leave the oracle inexact.
    """
    contexts, symbols = transitions.shape
    current = np.full(contexts, 1 / contexts)
    for _ in range(MAX_ITERATIONS):
        following = (current[:, None] * transitions).reshape(symbols, -1).sum(axis=0)
        if np.abs(following - current).max() < CONVERGED:
            return np.asarray(following / following.sum())
        current = following
    raise UserError(
        "the chain that data.synthetic.seed draws hardly ever leaves some of its states: take "
        "another seed, or a larger data.synthetic.concentration"
    )


class MarkovChain(SyntheticSource, name="markov"):
    """A chain of order k: a row from a Dirichlet distribution for each context of k symbols."""

    def __init__(self, options: SyntheticConfig) -> None:
        self.symbols, self.order = options.symbols, options.order
        contexts = self.symbols**self.order
        if contexts * self.symbols > MAX_TABLE:
            raise UserError(
                f"data.synthetic.symbols={self.symbols} and order={self.order} make {contexts:,} "
                "contexts: take fewer symbols or a lower order"
            )
        random = np.random.default_rng([options.seed, 0])
        self.transitions = dirichlet_rows(contexts, self.symbols, options.concentration, random)
        self.stationary = stationary(self.transitions)  # (V^k,) of contexts, oldest symbol first
        joints = [self._joint(visible) for visible in range(self.order + 1)]
        self.tables = [joint / joint.sum(axis=1, keepdims=True) for joint in joints]

    def _joint(self, visible: int) -> Numbers:
        """Return the probability of `visible` symbols and the next one, (V^visible, V)."""
        joint = self.stationary[:, None] * self.transitions
        return np.asarray(joint.reshape(-1, self.symbols**visible, self.symbols).sum(axis=0))

    def draw(self, count: int, random: np.random.Generator) -> Sample:
        return Sample(sample_chain(self.transitions, self.stationary, count, random), None)

    def oracle(self, rows: Rows) -> OraclePrediction:
        rows = rows.astype(np.int64)
        probabilities = np.empty((*rows.shape, self.symbols))
        context = np.zeros(len(rows), np.int64)
        for position in range(rows.shape[1]):
            probabilities[:, position] = self.tables[min(position, self.order)][context]
            contexts = self.symbols ** min(position + 1, self.order)
            context = (context * self.symbols + rows[:, position]) % contexts
        return predict_from(probabilities, rows)

    def entropy(self, visible: int) -> float:
        """Return the nats per symbol of the best model that sees the last `visible` symbols."""
        return float(-(self._joint(visible) * np.log(self.tables[visible])).sum())


class HiddenMarkovModel(SyntheticSource, name="hmm"):
    """A chain of hidden states, each of which emits symbols by a distribution of its own."""

    def __init__(self, options: SyntheticConfig) -> None:
        self.symbols, states = options.symbols, options.states
        random = np.random.default_rng([options.seed, 0])
        self.transitions = dirichlet_rows(states, states, options.concentration, random)  # (S, S)
        self.emissions = dirichlet_rows(states, self.symbols, options.concentration, random)
        self.stationary = stationary(self.transitions)  # (S,)

    def draw(self, count: int, random: np.random.Generator) -> Sample:
        states = sample_chain(self.transitions, self.stationary, count, random)
        uniform, symbols = random.random(count), np.empty(count, np.int64)
        for state, cumulative in enumerate(self.emissions.cumsum(axis=1)):
            emitted = states == state
            drawn = np.searchsorted(cumulative, uniform[emitted], side="right")
            symbols[emitted] = drawn.clip(max=self.symbols - 1)
        return Sample(symbols, None)

    def oracle(self, rows: Rows) -> OraclePrediction:
        """Predict by the forward algorithm, begun afresh in each row."""
        rows = rows.astype(np.int64)
        probabilities = np.empty((*rows.shape, self.symbols))
        belief = np.tile(self.stationary, (len(rows), 1))  # (B, S): of the state
        for position in range(rows.shape[1]):
            probabilities[:, position] = belief @ self.emissions
            joint = belief * self.emissions[:, rows[:, position]].T  # (B, S)
            belief = joint / joint.sum(axis=1, keepdims=True) @ self.transitions
        return predict_from(probabilities, rows)
