"""Architectures from outside: an installed package, and the steps of the README."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import new
from tests.conftest import ROOT, assert_one_error

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "their-mixers"
version = "1.0"
[project.entry-points."bench.architectures"]
theirs = "their_mixers.conf"
[tool.setuptools]
packages = ["their_mixers"]
[tool.setuptools.package-data]
their_mixers = ["conf/arch/*.yaml"]
"""


@pytest.mark.slow
def test_an_installed_package_is_checked_trained_measured_and_reported(
    tmp_path: Path, tiny: list[str]
) -> None:
    work, python = tmp_path / "work", tmp_path / "environment" / "bin" / "python"
    work.mkdir()
    assert new.main(["theirs", "--into", str(tmp_path / "source" / "their_mixers")]) == 0
    package = tmp_path / "source" / "their_mixers"
    (package / "__init__.py").touch()
    yaml = package / "conf" / "arch" / "theirs.yaml"
    yaml.write_text(yaml.read_text().replace("theirs.Theirs", "their_mixers.theirs.Theirs"))
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(python.parent.parent)], check=True
    )
    present = [path for path in sys.path if path.endswith("site-packages")]
    link = next(python.parent.parent.rglob("site-packages")) / "present.pth"
    link.write_text(
        "\n".join([str(ROOT), *(f"import site; site.addsitedir({path!r})" for path in present)])
    )
    flags = [
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
    ]
    before = {
        path: path.stat().st_mtime_ns
        for folder in ("bench", "conf", "architectures")
        for path in (ROOT / folder).rglob("*.[py]*")
    }

    def call(*words: str, code: int = 0) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
            "PYTHONDONTWRITEBYTECODE": "1"
        }
        done = subprocess.run(
            [str(python), "-m", *words],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else assert_one_error(done, code)

    call("pip", "install", *flags, str(package.parent))
    assert "theirs: all 13 checks passed" in call("bench.check", "arch=theirs", "--keep")
    quick = [word for word in tiny if not word.startswith("measure=")]
    quick += [
        "measure=quick",
        "measure.rounds=2",
        "measure.cap_seconds=5",
        "measure.lengths=[32,64]",
        "measure.processes=1",
    ]
    call("bench.run", "-m", "arch=theirs,bigram", *quick)
    call("bench.measure", "-m", "arch=theirs,bigram", *quick)
    page = call("bench.report", "results/single") and (
        work / "results/single/report/index.html"
    ).read_text(encoding="utf-8")
    assert "theirs" in page
    assert "bigram" in page
    summary = (work / "results/single/report/summary.csv").read_text(encoding="utf-8")
    assert re.search(r"^theirs,.*,done,", summary, re.M)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before
    for path in next(python.parent.parent.rglob("site-packages")).glob(
        "their_mixers/conf/arch/*.yaml"
    ):
        path.unlink()
    assert "pip uninstall their-mixers" in call("bench.run", "arch=rnn", code=2)


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.slow
def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    """Write each file where its first line says; run each command as it is."""
    blocks = re.findall(
        r"^```(\w*)\n(.*?)^```", section("Your own architecture in ten minutes"), re.M | re.S
    )
    assert {kind for kind, _ in blocks} == {"", "python", "yaml", "toml"}
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for kind, block in blocks:
        if kind in ("python", "yaml"):
            path = tmp_path / re.match(r"# (\S+)", block)[1].rstrip(":,")  # type: ignore[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
        elif not kind:
            for line in block.strip().splitlines():
                done = subprocess.run(
                    ["bash", "-c", line],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, line + done.stdout + done.stderr
    rows = (tmp_path / "results/single/report/summary.csv").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name},.*,done,", rows, re.M) for name in ("mine", "mean", "rnn"))
    assert json.loads(next((tmp_path / "results/single/checks").glob("mean-*.json")).read_text())[
        "findings"
    ]
