"""Leaks of scores as they were recorded: each cause is named, and rounding is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench.config.schema import Run, TrainConfig
from bench.data import Corpus, Part
from bench.data.tokenizer import ByteVocabulary
from bench.evaluation import causal_likelihood, leak_check
from bench.evaluation.leak_check import LeakCheck, LeakDetected, ScoredBatch
from bench.evaluation.scorer import Scorer
from bench.model.contract import ModelUnderTest
from bench.model.contract.perturbation import draw_cuts
from bench.training import Causal, Objective, TrainSettings, train_settings
from tests.conftest import OWN

ROWS, LENGTH, VOCABULARY = 16, 32, 11


def settings(precision: str = "float32"):
    recipe = TrainConfig(learning_rate=0.1, device="cpu", precision=precision)
    return train_settings(Run(arch={}, train=recipe))


def objective_of(arch: dict) -> Objective:
    return Causal(ModelUnderTest(arch).build(context=LENGTH)).eval()


def scorer(objective: Objective, plan: TrainSettings, part: Part | None = None) -> Scorer:
    parts = {} if part is None else {"test": part}
    return Scorer(objective, Corpus(Path(), "00ff", ByteVocabulary(), parts, {}), LENGTH, plan)


FAKE = {"_target_": "tests.fake_architectures.Valid"}


def check(score, causal: bool = True) -> None:
    """Check a score that is a function of the tokens read, (B, L) -> (B, L)."""
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, LENGTH))
    with LeakCheck(objective_of(FAKE), settings()) as checked:
        checked.score("a protocol", tokens, lambda read, order: score(read), causal)


def test_a_score_of_its_past_alone_is_none() -> None:
    check(lambda read: read.cumsum(axis=1).astype(float))
    check(lambda read: read.sum(axis=1, keepdims=True).astype(float), causal=False)


@pytest.mark.parametrize(
    ("score", "cause"),
    [
        (lambda read: np.roll(read, -1, axis=1).astype(float), "tokens after it change"),
        (lambda read: read + read[:, -1:] * 1e-2, "tokens after it change"),
        (lambda read: read + 1e-2 * np.roll(read, 1, axis=0), "other rows of its batch change"),
        (lambda read: read - read.mean(axis=0), "other rows of its batch change"),
    ],
)
def test_each_leak_has_its_cause(score, cause: str) -> None:
    with pytest.raises(LeakDetected) as error:
        check(score)
    assert error.value.code == "leak"
    assert cause in str(error.value)


def test_a_score_of_what_was_scored_before() -> None:
    calls = []

    def score(read: np.ndarray) -> np.ndarray:
        calls.append(1)
        return read + 1e-3 * len(calls)

    with pytest.raises(LeakDetected, match="what was scored before"):
        check(score)


def test_rows_without_an_order_are_looked_at_wholly() -> None:
    """An encoder may read all of its row, and no other row."""
    with pytest.raises(LeakDetected, match="other rows"):
        check(lambda read: np.roll(read, 1, axis=0).sum(axis=1, keepdims=True) * 1.0, causal=False)


def test_a_leak_of_any_place_is_seen_at_once() -> None:
    """One pass over 64 rows has a cut at every border of chunks of 16 in 128 tokens, and more."""
    for seed in range(20):
        cuts = draw_cuts(64, 128, np.random.default_rng(seed))
        assert set(range(16, 128, 16)) | {1, 127, 0} <= set(cuts.tolist())
        assert (cuts == 0).sum() >= 16


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["s4d", "hyena", "moe", "rnn", "transformer"])
def test_rounding_is_no_leak(name: str, precision: str) -> None:
    """Fourier transforms and routing carry rounding far; in bfloat16 it is large."""
    (path,) = (path for path in OWN if path.stem == name)
    objective = objective_of(yaml.safe_load(path.read_text(encoding="utf-8")))
    for parameter in objective.parameters():  # far from its initial values
        parameter.data.mul_(2.0)
    draw, plan = np.random.default_rng(1), settings(precision)
    tokens = draw.integers(0, VOCABULARY, (ROWS, LENGTH + 1))
    with torch.no_grad(), LeakCheck(objective, plan) as checked:
        scoring = scorer(objective, plan).scoring(tokens[:, 1:])
        nats = checked.score("chunk", tokens[:, :-1], scoring)
    assert np.isfinite(nats).all()


def test_a_large_part_is_checked_one_batch_in_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(leak_check, "check_batch", lambda _, batch, __: checked.append(batch))
    with LeakCheck(objective_of(FAKE), settings()) as sample:
        for number in range(250):
            rows = np.zeros((4 if number % 100 < 99 else 1, 2), int)
            sample.add(ScoredBatch(str(number), rows, rows * 0.0, lambda read, order: read * 0.0))
    assert [int(batch.protocol) // 100 for batch in checked] == [0, 1, 2]
    assert {len(batch.tokens) for batch in checked} == {4}


def fail_while_scoring() -> None:
    with LeakCheck(objective_of(FAKE), settings()) as checked:
        checked.score("a protocol", np.ones((4, 4), int), lambda read, _: np.roll(read, -1) * 1.0)
        raise ZeroDivisionError


def test_a_leak_does_not_hide_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        fail_while_scoring()


def test_the_score_is_what_it_was_without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check changes neither weights nor buffers nor the score."""
    objective = Causal(ModelUnderTest(FAKE, vocabulary=257).build(context=LENGTH)).eval()
    tokens = np.random.default_rng(0).integers(0, 256, 3000)
    part = Part(tokens.astype(np.uint16), np.array([0]), np.array([3000]))
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    with_check = causal_likelihood(scorer(objective, settings(), part))
    monkeypatch.setattr(leak_check, "check_batch", lambda *_: None)
    without = causal_likelihood(scorer(objective, settings(), part))
    assert with_check.metrics == without.metrics
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
