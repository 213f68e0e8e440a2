"""python -m bench.new: what it writes passes all checks, and nothing is overwritten."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import new
from bench.model.contract import CHECKS, Check, ModelUnderTest, run_check


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelUnderTest]:
    """Return what `python -m bench.new my_mixer` writes, imported from where it is."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("created")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        assert new.main(["my_mixer"]) == 0
        yield ModelUnderTest.read("my_architectures/conf/arch/my_mixer.yaml")
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_what_is_written_passes(check: Check, created: ModelUnderTest) -> None:
    result = run_check(check, created)
    assert result.status == "passed", result.sentence()


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new.main(["mine", "--into", "a/b"]) == 0
    assert "python -m bench.check --config-dir a/b/conf arch=mine" in capsys.readouterr().out
    yaml = tmp_path / "a/b/conf/arch/mine.yaml"
    assert "_target_: a.b.mine.Mine" in yaml.read_text()
    (tmp_path / "a/b/mine.py").write_text("precious")
    yaml.unlink()
    assert new.main(["mine", "--into", "a/b"]) == 2
    assert "[duplicate-name]" in capsys.readouterr().err
    assert (tmp_path / "a/b/mine.py").read_text() == "precious"
    assert not yaml.exists()


@pytest.mark.parametrize(
    "name", ["Mine", "my-mixer", "1st", "class", "torch", "json", "bench", "../up", ""]
)
def test_a_name_that_cannot_be_used_is_rejected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new.main([name]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
