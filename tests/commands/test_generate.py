"""`python -m bench.generate` on a run whose files are complete, broken or missing."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
import yaml

from bench import generate, model
from bench.config.schema import Run, SizeConfig
from bench.data.vocabulary import ByteVocabulary
from bench.evaluation.generation import decoding_form
from bench.training import load, save_weights


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run as training leaves it, of a model that was never trained."""
    arch = {"_target_": "tests.fake_architectures.Valid", "tune": {"learning_rate": 1e-3}}
    run = Run(arch=arch, size=SizeConfig(context=32))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(dataclasses.asdict(run)))
    built = model.build_model(arch, 16, 32, ByteVocabulary.size, seed=0)
    save_weights(tmp_path / "checkpoint", built, ByteVocabulary(), 16)
    return tmp_path


def error_of(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """Return the one line of a command that exits with 2."""
    assert generate.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_complete_run_writes(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert generate.main([str(trained), "--prompt", "a", "--tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("a")


def test_a_long_text_compiles_and_what_was_asked_for_is_refused(
    trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    loaded = load(trained)
    for form, tokens in (("eager", 10**6), ("auto", 49_999)):
        assert decoding_form(loaded, form, tokens) is loaded.model
    assert not caplog.messages
    assert decoding_form(loaded, "auto", 50_000) is loaded.model
    assert caplog.messages[-1].startswith("decode: eager, because ")
    assert generate.main([str(trained), "--tokens", "3", "--decode", "compiled"]) == 2
    assert "[not-supported]" in caplog.messages[-1]


def test_weights_that_are_not_finite_write_nothing(
    trained: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    path = trained / "checkpoint" / "weights.pt"
    saved = torch.load(path)
    next(iter(saved["model"].values())).fill_(math.nan)
    torch.save(saved, path)
    assert generate.main([str(trained)]) == 2
    assert capsys.readouterr().out == ""
    assert "unreadable-file" in caplog.messages[-1]
    assert "not finite" in caplog.messages[-2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocabulary.json", "[]"),
        ("vocabulary.json", "{"),
        ("vocabulary.json", '{"kind": "bpe", "tokenizer": "?"}'),
        ("vocabulary.json", None),
        ("weights.pt", "?"),
    ],
)
def test_a_damaged_or_missing_file_is_named(
    name: str, content: str | None, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    path = trained / "checkpoint" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert name in error_of(capsys, str(trained))


def test_a_vocabulary_of_another_model_is_named(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    vocabulary = trained / "checkpoint" / "vocabulary.json"
    vocabulary.write_text('{"kind": "symbols", "count": 3}')
    line = error_of(capsys, str(trained))
    assert "weights.pt" in line
    assert "config.yaml" in line


def test_a_run_without_weights_is_named(trained: Path, capsys: pytest.CaptureFixture) -> None:
    (trained / "checkpoint" / "weights.pt").unlink()
    assert str(trained) in error_of(capsys, str(trained))


def test_arguments_out_of_their_range_are_named(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    assert "toaster" in error_of(capsys, str(trained), "--device", "toaster")
    assert "[invalid-command]" in error_of(capsys, str(trained), "--tokens", "many")
    assert "[invalid-value]" in error_of(capsys, str(trained), "--tokens", "-1")
