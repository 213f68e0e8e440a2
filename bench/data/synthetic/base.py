"""Define synthetic sources: they draw symbols and know the probability of each from its prefix."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.schema import SyntheticConfig
from bench.data.registry import Registered, member

Numbers = NDArray[np.float64]
Rows = np.ndarray  # (B, S) of symbols


class Sample(NamedTuple):
    """The symbols of a part, (N,), and which of them are targets, (N,) bool; None: all."""

    tokens: np.ndarray
    loss_mask: np.ndarray | None


class OraclePrediction(NamedTuple):
    """The nats and the most likely symbol of the best possible model at each position, (B, S)."""

    nats: Numbers
    most_likely: np.ndarray


class SyntheticSource(Registered, ABC):
    """A source of symbols 0 … `symbols` − 1 and the separator, `symbols`.

    `class MySource(SyntheticSource, name="mine")` is `data.synthetic.kind=mine`. Making one raises
    UserError for numbers that exclude each other.
    """

    symbols: int
    windows: bool = False  # each window is a sequence of its own, which ends with a separator

    @abstractmethod
    def __init__(self, options: SyntheticConfig) -> None: ...

    @abstractmethod
    def draw(self, count: int, random: np.random.Generator) -> Sample:
        """Draw about `count` symbols; of sequences, as many whole ones as they fill."""

    @abstractmethod
    def oracle(self, rows: Rows) -> OraclePrediction:
        """Predict each symbol from those before it in its row and nothing else.

        So a protocol decides what is visible by how it cuts rows, and takes the symbols it scores.
        """


def open_synthetic(options: SyntheticConfig) -> SyntheticSource:
    """Return the source that `data.synthetic.kind` names."""
    kind = member(SyntheticSource, __package__, "data.synthetic.kind", options.kind)
    source: SyntheticSource = kind(options)
    return source


def predict_from(probabilities: Numbers, rows: Rows) -> OraclePrediction:
    """Return the prediction for rows (B, S) from probabilities of all symbols (B, S, V)."""
    of_rows = np.take_along_axis(probabilities, rows[..., None].astype(np.int64), axis=2)[..., 0]
    with np.errstate(divide="ignore"):  # an impossible symbol costs infinitely much
        return OraclePrediction(-np.log(of_rows), probabilities.argmax(axis=2))


def sample_symbols(cumulative: Numbers, random: np.random.Generator) -> np.ndarray:
    """Draw one symbol from each row of cumulative probabilities (B, V); return (B,)."""
    uniform = random.random(len(cumulative)) * cumulative[:, -1]
    counts = np.asarray((uniform[:, None] >= cumulative).sum(axis=1))
    return counts.clip(max=cumulative.shape[1] - 1)
