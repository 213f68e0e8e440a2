"""What every law is: it draws symbols, and knows how likely each one was to whoever saw those before it."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.errors import UserError
from bench.config.schema import SyntheticConfig

Numbers = NDArray[np.float64]
Rows = np.ndarray  # (B, S) of symbols


class Sample(NamedTuple):
    """A part: its symbols, and which of them count as targets, where that is not all of them."""

    tokens: np.ndarray  # (N,)
    counted: np.ndarray | None  # (N,) bool


class OraclePrediction(NamedTuple):
    """What the best possible model would say of each symbol of some rows."""

    nats: Numbers  # (B, S)
    most_likely: np.ndarray  # (B, S): the symbol that it would have named


class SyntheticSource(ABC):
    """Symbols 0 … `symbols` − 1, and the separator, `symbols`."""

    symbols: int
    windows: bool = False  # each window is a sequence of its own, which ends with a separator

    @abstractmethod
    def draw(self, count: int, random: np.random.Generator) -> Sample:
        """About `count` symbols; of sequences, as many whole ones as they fill."""

    @abstractmethod
    def oracle(self, rows: Rows) -> OraclePrediction:
        """Each symbol given those before it in its row and nothing else: the first from the law's own beginning.

        So a protocol says what is visible by how it cuts rows, and takes from them the symbols that it scores.
        """


def predict_from(probabilities: Numbers, rows: Rows) -> OraclePrediction:
    """The oracle of rows (B, S) from the probability of every symbol at every place (B, S, V)."""
    of_rows = np.take_along_axis(probabilities, rows[..., None].astype(np.int64), axis=2)[..., 0]
    with np.errstate(divide="ignore"):  # what can not be costs infinitely much
        return OraclePrediction(-np.log(of_rows), probabilities.argmax(axis=2))


def sample_symbols(cumulative: Numbers, random: np.random.Generator) -> np.ndarray:
    """(B,) one symbol from each row of cumulative probabilities (B, V)."""
    lots = random.random(len(cumulative)) * cumulative[:, -1]
    return np.asarray((lots[:, None] >= cumulative).sum(axis=1)).clip(max=cumulative.shape[1] - 1)


def open_synthetic(options: SyntheticConfig) -> SyntheticSource:
    """The law that the configuration names, with its numbers. Raises UserError for numbers that do not go together."""
    from bench.data.synthetic import chains, sequences

    known: dict[str, type[SyntheticSource]] = {
        "markov": chains.MarkovChain, "hmm": chains.HiddenMarkovModel, "in_context_markov": sequences.InContextMarkov,
        "recall": sequences.Recall, "dyck": sequences.Dyck, "parity": sequences.Parity,
    }  # fmt: skip
    if options.kind not in known:
        raise UserError(f"data.synthetic.kind={options.kind} is no law; known: {', '.join(known)}")
    return known[options.kind](options)  # type: ignore[call-arg]  # each takes the options
