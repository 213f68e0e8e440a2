"""Blocks, windows and units, against closed forms."""

from pathlib import Path

import numpy as np
import pytest

from bench.config.errors import UserError
from bench.config.schema import DataConfig
from bench.data import Blocks, Part, blocks, nats_per_unit, prepare, windows
from tests.data.texts import library

# --- the order of training ------------------------------------------------------------------------


def test_each_block_is_seen_once_an_epoch() -> None:
    blocks = Blocks(np.arange(1001, dtype=np.uint16), context=10, batch=7, seed=3)
    assert blocks.per_epoch == 100
    seen = np.concatenate(
        [blocks.at(step).tokens for step in range(100)]
    )  # 700 blocks: 7 epochs, batches run across their borders
    assert seen.shape == (700, 11)
    assert seen.dtype == np.int64
    for epoch in range(7):
        firsts = seen[epoch * 100 : epoch * 100 + 100, 0]
        assert sorted(firsts) == list(range(0, 1000, 10))
    assert (np.diff(seen, axis=1) == 1).all()
    assert (seen[:100, 0] != seen[100:200, 0]).any()


def test_the_order_is_a_function_of_seed_and_step() -> None:
    tokens = np.arange(500, dtype=np.uint16)
    first, same, other = (Blocks(tokens, 8, 5, seed) for seed in (1, 1, 2))
    same.at(40)
    assert (first.at(17).tokens == same.at(17).tokens).all()
    assert first.digest(20) == same.digest(20)
    assert first.digest(20) != other.digest(20)
    assert first.digest(20) != first.digest(21)


@pytest.mark.parametrize(
    ("context", "batch", "word"), [(100, 1, "size.context=100"), (10, 10, "train.batch=10")]
)
def test_a_text_too_short_for_context_or_batch(context: int, batch: int, word: str) -> None:
    with pytest.raises(UserError, match=word) as error:
        Blocks(np.zeros(100, np.uint16), context, batch, seed=0)
    assert error.value.code == "too-little-text"


# --- scoring --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 10, 11, 12, 95, 101])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_every_target_is_scored_once(length: int, batch: int) -> None:
    tokens = np.random.default_rng(0).integers(0, 200, length).astype(np.uint16)
    part = Part(tokens, np.array([1]), np.array([length - 1]))
    positions = []
    for window in windows(part, context=10, batch=batch):
        real = window.positions >= 0
        assert (window.targets[real] == tokens[window.positions[real]]).all()
        assert (window.tokens[real] == tokens[window.positions[real] - 1]).all()
        assert (real.sum(1) == window.lengths).all()
        assert (window.lengths > 0).all()
        assert not window.tokens[~real].any()
        positions += window.positions[real].tolist()
    assert positions == list(range(1, length))


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_nats_are_summed_by_unit_without_separators(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "TOKENS_PER_CHUNK", piece)
    nine = 9  # the separator
    tokens = np.array([nine, 1, 2, nine, 3, nine, 4, 5, 6], np.uint16)
    part = Part(tokens, np.array([1, 4, 6]), np.array([20, 10, 30]))
    frame, apart, count = nats_per_unit(part, np.array([1000.0, 1, 2, 4, 8, 16, 32, 64, 128]), nine)
    assert frame["nats"].tolist() == [3, 8, 224]
    assert frame["tokens"].tolist() == [2, 1, 3]
    assert frame["bytes"].tolist() == [20, 10, 30]
    assert (apart, count) == (20.0, 2)


def test_the_units_of_a_corpus_hold_all_tokens_and_bytes(tmp_path: Path) -> None:
    corpus = prepare(
        DataConfig(path=str(library(tmp_path / "texts", 60)), tokenizer="bpe", vocabulary=300),
        "mine",
    )
    for name, part in corpus.parts.items():
        frame, _, separators = nats_per_unit(
            part, np.ones(len(part.tokens)), corpus.vocabulary.separator
        )
        assert (part.tokens[part.starts - 1] == corpus.vocabulary.separator).all()
        assert frame["tokens"].sum() + separators + 1 == len(part.tokens)
        assert frame["bytes"].sum() == corpus.facts["bytes"][name]
        for at, size in zip(part.starts, part.sizes, strict=True):
            ends = np.flatnonzero(part.tokens[at:] == corpus.vocabulary.separator)
            text = corpus.vocabulary.decode(
                part.tokens[at : at + ends[0]] if len(ends) else part.tokens[at:]
            )
            assert len(text.encode()) == size
