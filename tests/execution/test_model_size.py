"""The size of a model is computed once for all commands, as long as all that decides it stays."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.compose import compose_sweep
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.data import Corpus, prepare
from bench.execution import model_size as sizes
from bench.execution.model_size import ModelSize, model_size


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Return the runs whose models were built, in order."""
    runs, build = list[Run](), sizes._build
    monkeypatch.setattr(sizes, "_build", lambda run, corpus: runs.append(run) or build(run, corpus))
    return runs


@pytest.fixture
def run(tiny: list[str], tmp_path: Path) -> Run:
    words = ["arch=gru", *tiny, f"data.cache={tmp_path / 'cache'}"]
    return compose_sweep(words).runs[0]


def corpus_of(run: Run) -> Corpus:
    return prepare(run.data, "text")


def test_equal_models_are_built_once(run: Run, built: list[Run], tmp_path: Path) -> None:
    corpus = corpus_of(run)
    size = model_size(run, corpus)
    assert size.width > 0
    assert 0 < size.parameters <= run.size.parameters
    assert size.flops_per_token > 0
    another_rate = replace(run, seed=5, train=replace(run.train, learning_rate=0.5, steps=3))
    assert model_size(another_rate, corpus) == size
    assert len(built) == 1
    (path,) = (tmp_path / "cache" / "model_sizes").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"width": ', b'"width": 1'))
    assert model_size(run, corpus) == size
    assert len(built) == 2
    larger = replace(run, size=replace(run.size, parameters=2 * run.size.parameters))
    assert model_size(larger, corpus).width > size.width


def test_a_model_that_cannot_be_built_is_tried_once(run: Run, built: list[Run]) -> None:
    corpus = corpus_of(run)
    for seed in (0, 1):
        with pytest.raises(UserError) as error:
            model_size(replace(run, seed=seed, size=replace(run.size, parameters=10)), corpus)
        assert error.value.code == "no-width"
    assert len(built) == 1


def test_what_may_change_is_checked_each_time(run: Run, built: list[Run]) -> None:
    corpus = corpus_of(run)
    model_size(run, corpus)
    large = replace(run, train=replace(run.train, batch=10**5))
    for each in (large, replace(run, train=replace(run.train, precision="tf32"))):
        with pytest.raises(UserError):
            model_size(each, corpus)
    assert len(built) == 1


def test_a_run_that_is_skipped_has_its_reason(run: Run, built: list[Run]) -> None:
    masked = replace(run, objective=replace(run.objective, kind="masked"))
    first, second = (model_size(masked, corpus_of(run)) for _ in range(2))
    assert first == second == ModelSize(unsupported=first.unsupported)
    assert "encoders" in first.unsupported
    assert len(built) == 1
