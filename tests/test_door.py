"""The doors for other people's architectures: the check, the file to start from, installed packages, and what the README says."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import check, model, new
from bench.cli import compose
from bench.config.errors import UserError
from bench.config.plugins import install_hint
from bench.contract import CHECKS, Check, ModelUnderTest, run_check
from bench.records import contract_results
from tests import fake_architectures

from .conftest import ROOT, Command, assert_one_error

compose.register()


def write_arch(folder: Path, name: str, target: str) -> Path:
    path = folder / "arch" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"_target_: {target}\nfamily: own\ncard: {{summary: A test., paper: ''}}\ntune: {{learning_rate: 1.0e-3}}\n"
    )
    return path


# --- the check --------------------------------------------------------------------------------------------------------


def test_check_tells_a_sound_one_from_a_bad_one_and_keeps_what_it_found(
    run_command: Command, tmp_path: Path
) -> None:
    write_arch(tmp_path / "conf", "good", "tests.fake_architectures.Valid")
    write_arch(tmp_path / "conf", "bad", "tests.fake_architectures.MixesRows")
    done = run_command("--config-dir", "conf", "arch=good,bad", "--keep", module="bench.check")
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stdout.split())
    assert f"good: all {len(CHECKS)} promises hold" in text
    assert "bad: BROKEN: rows;" in text
    assert "to mend it: take no mean, norm or sort over the first axis" in text
    assert "2 architectures: 1 not sound: bad" in text
    kept = {
        found["arch"]: found
        for found in contract_results.read_contract_results(tmp_path / "results/single").values()
    }
    assert [f["name"] for f in kept["bad"]["findings"] if f["status"] == "broken"] == ["rows"]
    assert not kept["good"]["stale"]
    assert {f["status"] for f in kept["good"]["findings"]} == {"holds"}


@pytest.mark.slow
def test_every_double_is_caught_by_the_command(run_command: Command, tmp_path: Path) -> None:
    sound = {"Valid", "ByFourier", "OnlySixtyFour", "BranchesOnValues"}
    bad = {
        name
        for name, kind in vars(fake_architectures).items()
        if isinstance(kind, type)
        and issubclass(kind, fake_architectures.Valid)
        and name not in sound
    }
    for name in bad:
        write_arch(tmp_path / "conf", name.lower(), f"tests.fake_architectures.{name}")
    done = run_command(
        "--config-dir",
        "conf",
        f"arch={','.join(sorted(name.lower() for name in bad))}",
        module="bench.check",
    )
    assert done.returncode == 1, done.stderr
    assert f"{len(bad)} architectures: {len(bad)} not sound" in done.stdout


def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_arch(tmp_path / "conf", "lost", "no_such_module.Model")
    for words, said in (
        (
            ["--config-dir", "conf", "arch=lost"],
            "no_such_module.Model cannot be imported: ModuleNotFoundError",
        ),
        (["arch=nothing_of_the_kind"], "arch=nothing_of_the_kind is not known"),
        (["--config-dir", "nowhere", "arch=rnn"], "is no folder"),
    ):
        assert check.main(words) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert said in error
        assert "\n" not in error


def test_help_of_both_commands_needs_no_torch() -> None:
    words = (
        "import sys, bench.check, bench.new; assert not bench.check.main(['--help']); bench.new.parsed(['mine']); "
        "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python -m bench.check arch=mine" in done.stdout


# --- a file to start from ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelUnderTest]:
    """What `python -m bench.new my_mixer` writes, imported from where it was written."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("started")
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        assert new.main(["my_mixer"]) == 0
        yield ModelUnderTest.read("my_architectures/conf/arch/my_mixer.yaml")
    finally:
        sys.path.remove(str(folder))
        os.chdir(here)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_what_is_written_keeps_the_contract(check: Check, started: ModelUnderTest) -> None:
    finding = run_check(check, started)
    assert finding.status == "holds", finding.sentence()


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new.main(["mine", "--into", "a/b"]) == 0
    said = capsys.readouterr().out
    assert "python -m bench.check --config-dir a/b/conf arch=mine" in said
    assert "_target_: a.b.mine.Mine" in (tmp_path / "a/b/conf/arch/mine.yaml").read_text()
    (tmp_path / "a/b/mine.py").write_text("precious")
    (tmp_path / "a/b/conf/arch/mine.yaml").unlink()
    assert new.main(["mine", "--into", "a/b"]) == 2
    assert "is there already, and nothing was written" in capsys.readouterr().err
    assert (tmp_path / "a/b/mine.py").read_text() == "precious"
    assert not (tmp_path / "a/b/conf/arch/mine.yaml").exists()


@pytest.mark.parametrize(
    "name", ["Mine", "my-mixer", "1st", "class", "torch", "json", "bench", "../up", ""]
)
def test_a_name_that_would_not_do_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new.main([name]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


# --- installed packages -----------------------------------------------------------------------------------------------


def install(folder: Path, package: str, value: str, arches: dict[str, str]) -> None:
    """A package as an installer leaves it: its folder, its YAMLs, and the metadata that declare them."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("raise AssertionError('imported too early')\n")
    for name, target in arches.items():
        write_arch(folder / package / "conf", name, target)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[bench.architectures]\n{package} = {value}\n")


def test_an_installed_package_brings_its_architectures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        tmp_path, "their_mixers", "their_mixers.conf", {"theirs": "tests.fake_architectures.Valid"}
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        compose.compose_sweep(["arch=theirs"]).runs[0].arch["_target_"]
        == "tests.fake_architectures.Valid"
    )
    assert "theirs" in {
        run.names["arch"] for run in compose.compose_sweep(["-m", "arch=glob(*)"]).runs
    }
    assert "their_mixers" not in sys.modules


@pytest.mark.parametrize(
    ("value", "name", "words"),
    [
        (
            "their_mixers.nowhere",
            "theirs",
            "there is no arch/[*].yaml in .*their_mixers/nowhere.*pip uninstall their_mixers",
        ),
        (
            "no_such_package.conf",
            "theirs",
            "there is no arch/[*].yaml in a package no_such_package",
        ),
        (
            "their_mixers.conf",
            "bigram",
            "arch=bigram is defined twice, by the project .* and by the installed package their_mixers",
        ),
    ],
)
def test_a_broken_package_is_one_line(
    value: str, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "their_mixers", value, {name: "tests.fake_architectures.Valid"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=words):
        compose.compose_sweep(["arch=rnn"])


def test_two_packages_with_one_name_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("first_mixers", "second_mixers"):
        install(tmp_path, package, f"{package}.conf", {"theirs": "tests.fake_architectures.Valid"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        UserError,
        match=r"arch=theirs is defined twice, by the installed package first_mixers .* second_mixers",
    ):
        compose.compose_sweep(["arch=rnn"])


def test_a_name_of_the_project_is_not_silently_taken(tmp_path: Path) -> None:
    write_arch(tmp_path, "bigram", "tests.fake_architectures.Valid")
    with pytest.raises(
        UserError, match=r"arch=bigram is defined twice, by the project .* and by --config-dir"
    ):
        compose.compose_sweep(["--config-dir", str(tmp_path), "arch=bigram"])


def test_a_missing_extra_says_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needs_an_extra.py").write_text("import transformers\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        model.ModelBuildError,
        match=r"cannot be imported.*; to install it: python -m pip install 'architecture-bench\[huggingface\]'",
    ):
        model.backbone_class({"_target_": "needs_an_extra.Model"})
    assert install_hint(ModuleNotFoundError("No module", name="nobody_knows_it")) == ""
    assert install_hint(ValueError("no")) == ""


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
def test_a_package_in_a_fresh_environment_is_checked_trained_measured_and_reported(
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
    assert "theirs: all 13 promises hold" in call("bench.check", "arch=theirs", "--keep")
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


# --- the README -------------------------------------------------------------------------------------------------------


def section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.slow
def test_the_readme_is_followed_word_for_word(tmp_path: Path) -> None:
    """Files are written where their first line says; commands run as they stand, each must succeed."""
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
