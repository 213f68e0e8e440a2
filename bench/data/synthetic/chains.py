"""Laws of one long chain: windows may be cut from it anywhere, and each begins with the chain's stationary law."""

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

MAX_TABLE = 1 << 20  # numbers of a table of probabilities
CONVERGED = 1e-15
MAX_ITERATIONS = 20_000
MIN_PROBABILITY = 1e-12  # a probability below it is taken for it: a law without impossible symbols has one stationary law


def dirichlet_rows(
    rows: int, width: int, concentration: float, random: np.random.Generator
) -> Numbers:
    """(rows, width) drawn from a symmetric Dirichlet distribution."""
    drawn = random.dirichlet(np.full(width, concentration), rows).clip(min=MIN_PROBABILITY)
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def sample_chain(cumulative: Numbers, start: int, lots: Numbers, states: int) -> np.ndarray:
    """(N,) the steps of a chain from a context: each context and step make the next context, modulo `states`."""
    table, width = cumulative.tolist(), cumulative.shape[1]
    context, steps = start, []
    for lot in (
        lots.tolist()
    ):  # each step waits for the one before it: a plain loop is the fastest there is
        step = min(bisect_right(table[context], lot), width - 1)
        steps.append(step)
        context = (context * width + step) % states
    return np.asarray(steps)


class MarkovChain(SyntheticSource):
    """Order k: the last k symbols are all that counts. Each context has a row from a Dirichlet distribution."""

    def __init__(self, options: SyntheticConfig, transitions: Numbers | None = None):
        self.symbols, self.order = options.symbols, options.order
        contexts = self.symbols**self.order
        if contexts * self.symbols > MAX_TABLE:
            said = f"data.synthetic.symbols={self.symbols} and order={self.order}"
            raise UserError(
                f"{said} make {contexts:,} contexts: take fewer symbols or a lower order"
            )
        random = np.random.default_rng([options.seed, 0])
        drawn = (
            dirichlet_rows(contexts, self.symbols, options.concentration, random)
            if transitions is None
            else transitions
        )
        self.transitions = drawn  # (V^k, V)
        self.stationary = self._settle()  # (V^k,): of contexts, the oldest symbol first
        self.tables = [self._after(seen) for seen in range(self.order + 1)]

    def _settle(self) -> Numbers:
        """By walking on until nothing changes. Raises UserError where that takes too long: the oracle would not be exact."""
        law = np.full(len(self.transitions), 1 / len(self.transitions))
        for _ in range(MAX_ITERATIONS):
            after = (law[:, None] * self.transitions).reshape(self.symbols, -1).sum(axis=0)
            if np.abs(after - law).max() < CONVERGED:
                return np.asarray(after / after.sum())
            law = after
        raise UserError(
            "the chain that data.synthetic.seed draws hardly ever leaves some of its states: take another seed, or a larger "
            "data.synthetic.concentration"
        )

    def _after(self, seen: int) -> Numbers:
        """(V^seen, V): the next symbol where only the last `seen` are known."""
        joint = (
            (self.stationary[:, None] * self.transitions)
            .reshape(-1, self.symbols**seen, self.symbols)
            .sum(axis=0)
        )
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))

    def draw(self, count: int, random: np.random.Generator) -> Sample:
        start = int(random.choice(len(self.stationary), p=self.stationary))
        return Sample(
            sample_chain(
                self.transitions.cumsum(axis=1), start, random.random(count), len(self.stationary)
            ),
            None,
        )

    def oracle(self, rows: Rows) -> OraclePrediction:
        rows = rows.astype(np.int64)
        probabilities = np.empty((*rows.shape, self.symbols))
        context = np.zeros(len(rows), np.int64)
        for place in range(rows.shape[1]):
            seen = min(place, self.order)
            probabilities[:, place] = self.tables[seen][context]
            context = (context * self.symbols + rows[:, place]) % self.symbols ** min(
                place + 1, self.order
            )
        return predict_from(probabilities, rows)

    def entropy(self, seen: int) -> float:
        """Nats of a symbol where only the last `seen` are known: what a model of that reach can get to."""
        joint = (
            (self.stationary[:, None] * self.transitions)
            .reshape(-1, self.symbols**seen, self.symbols)
            .sum(axis=0)
        )
        return float(-(joint * np.log(self.tables[seen])).sum())


class HiddenMarkovModel(SyntheticSource):
    """A chain of states that nobody sees, each of which says a symbol by a law of its own."""

    def __init__(self, options: SyntheticConfig):
        self.symbols = options.symbols
        random = np.random.default_rng([options.seed, 0])
        self.transitions = dirichlet_rows(
            options.states, options.states, options.concentration, random
        )  # (S, S)
        self.emissions = dirichlet_rows(
            options.states, self.symbols, options.concentration, random
        )  # (S, V)
        # a hidden chain is a Markov chain of order 1 over its states
        self.stationary = MarkovChain(
            SyntheticConfig(symbols=options.states, order=1), self.transitions
        ).stationary  # (S,)

    def draw(self, count: int, random: np.random.Generator) -> Sample:
        start = int(random.choice(len(self.stationary), p=self.stationary))
        states = sample_chain(
            self.transitions.cumsum(axis=1), start, random.random(count), len(self.stationary)
        )
        lots, said = random.random(count), np.empty(count, np.int64)
        for state, cumulative in enumerate(self.emissions.cumsum(axis=1)):
            here = states == state
            said[here] = np.searchsorted(cumulative, lots[here], side="right").clip(
                max=self.symbols - 1
            )
        return Sample(said, None)

    def oracle(self, rows: Rows) -> OraclePrediction:
        """By the forward algorithm, begun afresh in each row."""
        rows = rows.astype(np.int64)
        probabilities = np.empty((*rows.shape, self.symbols))
        believed = np.tile(
            self.stationary, (len(rows), 1)
        )  # (B, S): the state, given what was said before
        for place in range(rows.shape[1]):
            probabilities[:, place] = believed @ self.emissions
            weighed = believed * self.emissions[:, rows[:, place]].T  # (B, S)
            believed = weighed / weighed.sum(axis=1, keepdims=True) @ self.transitions
        return predict_from(probabilities, rows)
