"""A wheel, installed without the repository, runs a comparison from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.cli import entry
from tests.conftest import ROOT, tiny_overrides, write_words

SOURCES = ("bench", "architectures", "conf", "pyproject.toml", "README.md", "LICENSE")
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


def call(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_a_wheel_runs_a_comparison_from_another_folder(tmp_path: Path) -> None:
    source, work = tmp_path / "source", tmp_path / "elsewhere"
    for folder in (source, work):
        folder.mkdir()
    for name in SOURCES:
        path = ROOT / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / name)
    build = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path, source)
    call(sys.executable, *PIP, *build, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for expected in ("bench/py.typed", "architectures/py.typed", "bench/conf/arch/rnn.yaml"):
        assert expected in names
    call(sys.executable, "-m", "venv", "--without-pip", "env", cwd=tmp_path)
    python, packages = tmp_path / "env/bin/python", next(tmp_path.glob("env/lib/*/site-packages"))
    present = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "present.pth").write_text("\n".join(present))  # their own .pth files do not count
    call(python, *PIP, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    tiny = tiny_overrides(write_words(work / "words.txt", 20_000))
    script = tmp_path / "env/bin/architecture-bench"
    done = call(script, "run", "-m", "arch=bigram,rnn", *tiny, cwd=work)
    assert "report: results/single/report/index.html" in done.stdout
    assert (work / "results/single/report/index.html").stat().st_size > 100_000
    where = call(python, "-c", "import bench; print(bench.__file__)", cwd=work).stdout
    assert Path(where.strip()).is_relative_to(packages)


def test_a_name_that_is_no_command_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["architecture-bench", "reprot"])
    assert entry.main() == 2
    error = capsys.readouterr().err
    assert "did you mean report or export?" in error
    assert "[invalid-command]" in error
    monkeypatch.setattr(sys, "argv", ["architecture-bench"])
    assert entry.main() == 0
    assert "Commands: check, compare" in capsys.readouterr().out
