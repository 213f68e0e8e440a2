"""Synthetic sources: oracles against enumeration or closed forms, and the parts they draw."""

from itertools import pairwise, product

import numpy as np
import pytest

from bench import data
from bench.config.errors import UserError
from bench.config.schema import DataConfig, SyntheticConfig
from bench.data import Blocks, windows
from bench.data.synthetic import chains
from bench.data.synthetic.base import SyntheticSource, open_synthetic

KINDS = ("markov", "hmm", "in_context_markov", "recall", "dyck", "parity")


def make(kind: str, **numbers: float) -> SyntheticSource:
    return open_synthetic(SyntheticConfig(kind=kind, **numbers))  # type: ignore[arg-type]


def every(symbols: int, length: int) -> np.ndarray:
    """Every row of a length."""
    return np.array(list(product(range(symbols), repeat=length)))


@pytest.mark.parametrize("kind", ["markov", "hmm", "in_context_markov", "dyck"])
def test_the_probabilities_of_all_texts_sum_to_one(kind: str) -> None:
    source = make(kind, symbols=4 if kind == "dyck" else 3, states=3, length=8, depth=2)
    for length in (1, 2, 5):
        nats = source.oracle(every(source.symbols, length)).nats
        assert np.exp(-nats.sum(axis=1)).sum() == pytest.approx(1, abs=1e-12)


def test_markov_by_enumeration_over_all_pasts() -> None:
    """The first symbols of a window: summed over every past that the chain may have had."""
    source = make("markov", symbols=3, order=2, seed=4)
    chain = source.transitions.reshape(3, 3, 3)  # type: ignore[attr-defined]
    pairs = np.full((3, 3), 1 / 9)
    for _ in range(2000):  # a long past, from anywhere
        pairs = np.einsum("ab,abc->bc", pairs, chain)
    rows = every(3, 4)
    a, b, c, d = rows.T
    joint = pairs[a, b] * chain[a, b, c] * chain[b, c, d]
    nats = source.oracle(rows).nats
    assert np.exp(-nats.sum(axis=1)) == pytest.approx(joint, abs=1e-12)
    assert np.exp(-nats[:, 0]) == pytest.approx(pairs.sum(axis=1)[a], abs=1e-12)
    assert np.exp(-nats[:, 1]) == pytest.approx(
        (pairs / pairs.sum(axis=1, keepdims=True))[a, b], abs=1e-12
    )


def test_markov_reaches_its_entropy_and_the_bigram_its_closed_form() -> None:
    """π log P, and for one symbol Σ p(a, b) log p(b | a), against counts of a long text."""
    source = make("markov", symbols=4, order=2, seed=1)
    text = source.draw(50_000, np.random.default_rng(0)).tokens
    counts = np.zeros((4, 4))
    np.add.at(counts, (text[:-1], text[1:]), 1)
    counted = -(counts * np.log(counts / counts.sum(axis=1, keepdims=True))).sum() / counts.sum()
    assert source.entropy(1) == pytest.approx(counted, abs=0.01)  # type: ignore[attr-defined]
    assert source.oracle(text[None]).nats.mean() == pytest.approx(source.entropy(2), abs=0.02)  # type: ignore[attr-defined]


def test_hidden_markov_by_enumeration_over_paths() -> None:
    source = make("hmm", symbols=3, states=2, concentration=0.5, seed=3)
    move, say, first = source.transitions, source.emissions, source.stationary  # type: ignore[attr-defined]
    assert first @ move == pytest.approx(first, abs=1e-12)
    rows = every(3, 5)
    total = np.zeros(len(rows))
    for path in product(range(2), repeat=5):
        steps = np.prod([move[a, b] for a, b in pairwise(path)])
        total += (
            first[path[0]]
            * steps
            * np.prod([say[state, rows[:, place]] for place, state in enumerate(path)], axis=0)
        )
    assert np.exp(-source.oracle(rows).nats.sum(axis=1)) == pytest.approx(total, abs=1e-12)


def test_in_context_markov_by_the_dirichlet_integral() -> None:
    """The probability of a text is a product of gamma functions of its pair counts."""
    from scipy.special import gammaln

    source, a = make("in_context_markov", symbols=3, concentration=0.7, length=7), 0.7
    rows = every(3, 6)
    expected = np.full(len(rows), -np.log(3))
    for row, text in enumerate(rows):
        counts = np.zeros((3, 3))
        np.add.at(counts, (text[:-1], text[1:]), 1)
        expected[row] += (
            gammaln(3 * a)
            - gammaln(3 * a + counts.sum(1))
            + (gammaln(counts + a) - gammaln(a)).sum(1)
        ).sum()
    assert -source.oracle(rows).nats.sum(axis=1) == pytest.approx(expected, abs=1e-10)


def learned(count: int) -> list[float]:
    """Nats of the best in-context predictor of 8 symbols, a = 1, at three places."""
    source = make("in_context_markov", symbols=8, concentration=1.0, length=258)
    text = source.draw(count * 258, np.random.default_rng(7)).tokens[1:].reshape(count, 258)[:, :-1]
    pieces = [
        source.oracle(piece).nats[:, [32, 128, 256]]
        for piece in np.array_split(text, max(1, count // 2000))
    ]
    return [float(value) for value in np.concatenate(pieces).mean(axis=0)]


def test_in_context_learning_curve() -> None:
    assert learned(4000) == pytest.approx([1.968, 1.848, 1.797], abs=0.04)


@pytest.mark.slow
def test_in_context_learning_curve_of_many_sequences() -> None:
    assert learned(100_000) == pytest.approx([1.968, 1.848, 1.797], abs=0.006)


def test_dyck_prefixes_by_enumeration_of_their_continuations() -> None:
    """The probability of a prefix is the sum over its continuations, by rules on strings."""
    source = make("dyck", symbols=4, depth=2, length=7)

    def worth(text: tuple[int, ...]) -> float:
        open_now: list[int] = []
        value = 1.0
        for symbol in text:
            opens = 1.0 if not open_now else 0.0 if len(open_now) == 2 else 0.5
            if symbol < 2:
                value *= opens / 2
                open_now.append(symbol)
            elif open_now and open_now.pop() == symbol - 2:
                value *= 1 - opens
            else:
                return 0.0
        return value

    full = {
        text: worth(text) for text in product(range(4), repeat=6)
    }  # in the order of their prefixes
    for length in (1, 3, 5):
        rows = every(4, length)
        summed = np.array(list(full.values())).reshape(len(rows), -1).sum(axis=1)
        assert np.exp(-source.oracle(rows).nats.sum(axis=1)) == pytest.approx(summed, abs=1e-12)
    drawn = source.draw(7 * 400, np.random.default_rng(0)).tokens[1:].reshape(-1, 7)[:, :-1]
    assert all(worth(tuple(row)) > 0 for row in drawn.tolist())


def test_recall_has_answers_as_targets() -> None:
    source = make("recall", symbols=16, pairs=3, length=16)
    drawn = source.draw(16 * 300, np.random.default_rng(0))
    assert drawn.loss_mask is not None
    for row, mask in zip(
        drawn.tokens[1:].reshape(-1, 16), drawn.loss_mask[1:].reshape(-1, 16), strict=True
    ):
        values = dict(zip(row[:6:2].tolist(), row[1:6:2].tolist(), strict=True))
        assert len(values) == 3
        assert np.flatnonzero(mask).tolist() == [7, 9, 11, 13]
        assert all(values[int(row[place - 1])] == row[place] for place in np.flatnonzero(mask))


def test_parity_answers_for_the_bits_so_far() -> None:
    drawn = make("parity", length=24).draw(24 * 300, np.random.default_rng(0))
    assert drawn.loss_mask is not None
    for row, mask in zip(
        drawn.tokens[1:].reshape(-1, 24), drawn.loss_mask[1:].reshape(-1, 24), strict=True
    ):
        assert mask.any()
        for place in np.flatnonzero(mask):
            bits = row[:place]
            assert row[place - 1] == 2
            assert row[place] == 3 + (bits[bits < 2].sum() % 2)


def options(kind: str, **numbers: float) -> DataConfig:
    synthetic = SyntheticConfig(
        **({"kind": kind, "length": 16, "tokens": 4000, "held_out": 1000} | numbers)
    )  # type: ignore[arg-type]
    return DataConfig(source="synthetic", tokenizer="symbols", synthetic=synthetic)


@pytest.mark.parametrize("kind", KINDS)
def test_a_synthetic_source_is_cached_like_a_text(kind: str) -> None:
    first, again = (data.prepare(options(kind), kind) for _ in range(2))
    other = data.prepare(options(kind, seed=1), kind)
    assert set(first.parts) == {"train", "validation", "test"}
    assert isinstance(first.parts["train"].tokens, np.memmap)
    assert first.digest == again.digest != other.digest
    assert first.vocabulary.size == first.synthetic.symbols + 1  # type: ignore[union-attr]
    assert not np.array_equal(first.parts["validation"].tokens, first.parts["test"].tokens)


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_block_and_a_window_are_one_sequence(kind: str) -> None:
    corpus = data.prepare(options(kind), kind)
    separator, part = corpus.vocabulary.separator, corpus.parts["train"]
    tokens, mask = Blocks(part.tokens, 16, 5, 0, part.loss_mask).at(0)
    assert (
        (tokens == separator) == (np.arange(17) % 16 == 0)
    ).all()  # in front and behind, nowhere else
    assert not mask[:, [0, -1]].any()  # never a target
    assert mask.any(axis=1).all()
    for window in windows(corpus.parts["test"], 16, 7):
        assert (window.lengths == 16).all()
        assert (window.tokens[:, 0] == separator).all()
        assert (window.targets[:, -1] == separator).all()


def test_an_oracle_predicts_several_sequences_as_it_predicts_each() -> None:
    """A row may hold what a carried state has seen."""
    source = make("in_context_markov", symbols=4, length=10)
    text = source.draw(
        30, np.random.default_rng(0)
    ).tokens  # a separator, then three sequences that end with one each
    together = source.oracle(text[None]).nats[0]
    for first in (0, 10, 20):
        assert together[first + 1 : first + 10] == pytest.approx(
            source.oracle(text[None, first : first + 11]).nats[0, 1:10]
        )


def test_a_chain_that_hardly_moves_is_an_error() -> None:
    moves = np.array([[1 - 1e-9, 1e-9], [3e-9, 1 - 3e-9]])
    with pytest.raises(UserError, match=r"data\.synthetic\.seed"):
        chains.stationary(moves)


@pytest.mark.parametrize(
    ("kind", "numbers", "identifier"),
    [
        ("recall", {"symbols": 9}, "symbols=9"),
        ("recall", {"symbols": 8, "pairs": 5}, "5 pairs"),
        ("recall", {"symbols": 64, "pairs": 8}, "size.context of 19"),
        ("dyck", {"symbols": 5}, "symbols=5"),
        ("markov", {"symbols": 100, "order": 4}, "order=4"),
        ("parity", {"length": 3}, "size.context of 4"),
        ("none", {}, "kind=none"),
    ],
)
def test_numbers_that_exclude_each_other(
    kind: str, numbers: dict[str, float], identifier: str
) -> None:
    with pytest.raises(UserError, match=identifier):
        data.prepare(options(kind, **numbers), kind)
