"""Installed packages provide architectures; two of one name and missing files are reported."""

import sys
from pathlib import Path

import pytest

from bench import model
from bench.cli import compose
from bench.config.errors import UserError
from bench.config.plugins import install_hint
from tests.conftest import write_arch

VALID = "tests.fake_architectures.Valid"


def install(folder: Path, package: str, value: str, architectures: dict[str, str]) -> None:
    """Make a package as an installer leaves it: its folder, its YAMLs, and its metadata."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("raise AssertionError('imported too early')\n")
    for name, target in architectures.items():
        write_arch(folder / package / "conf", name, target)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[bench.architectures]\n{package} = {value}\n")


def test_an_installed_package_provides_architectures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "their_mixers", "their_mixers.conf", {"theirs": VALID})
    monkeypatch.syspath_prepend(tmp_path)
    assert compose.compose_sweep(["arch=theirs"]).runs[0].arch["_target_"] == VALID
    every = compose.compose_sweep(["-m", "arch=glob(*)"]).runs
    assert "theirs" in {run.names["arch"] for run in every}
    assert "their_mixers" not in sys.modules


@pytest.mark.parametrize(
    ("value", "name", "code", "words"),
    [
        ("their_mixers.nowhere", "theirs", "missing-file", "their_mixers/nowhere.* their_mixers"),
        ("no_such_package.conf", "theirs", "missing-file", "a package no_such_package"),
        ("their_mixers.conf", "bigram", "duplicate-name", "arch=bigram .* package their_mixers"),
    ],
)
def test_a_broken_package_is_reported(
    value: str, name: str, code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "their_mixers", value, {name: VALID})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        compose.compose_sweep(["arch=rnn"])
    assert error.value.code == code


def test_two_packages_with_one_name_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("first_mixers", "second_mixers"):
        install(tmp_path, package, f"{package}.conf", {"theirs": VALID})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"arch=theirs .*first_mixers .*second_mixers"):
        compose.compose_sweep(["arch=rnn"])


def test_a_name_of_the_project_cannot_be_taken(tmp_path: Path) -> None:
    write_arch(tmp_path, "bigram", VALID)
    with pytest.raises(UserError, match=r"arch=bigram .*--config-dir") as error:
        compose.compose_sweep(["--config-dir", str(tmp_path), "arch=bigram"])
    assert error.value.code == "duplicate-name"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "needs_an_extra.py").write_text("import transformers\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        model.ModelBuildError, match=r"pip install 'architecture-bench\[huggingface\]'"
    ):
        model.backbone_class({"_target_": "needs_an_extra.Model"})
    assert install_hint(ModuleNotFoundError("No module", name="unknown_module")) == ""
    assert install_hint(ValueError("no")) == ""
