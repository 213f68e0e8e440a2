"""python -m bench.check: its table, its exit code, what it keeps, its mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from bench import check
from bench.model.contract import CHECKS, CheckResult
from bench.records.tables import read_records
from tests import fake_architectures
from tests.conftest import ROOT, Command, write_arch

PASSING = {"Valid", "ByFourier", "OnlySixtyFour", "BranchesOnValues"}
FAILING = sorted(
    name
    for name, kind in vars(fake_architectures).items()
    if isinstance(kind, type) and issubclass(kind, fake_architectures.Valid) and name not in PASSING
)


def test_results_are_shown_and_kept(run_command: Command, tmp_path: Path) -> None:
    write_arch(tmp_path / "conf", "good", "tests.fake_architectures.Valid")
    write_arch(tmp_path / "conf", "bad", "tests.fake_architectures.MixesRows")
    done = run_command("--config-dir", "conf", "arch=good,bad", "--keep", module="bench.check")
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stdout.split())
    assert f"good: all {len(CHECKS)} checks passed" in text
    assert "bad: FAILED: rows, causality;" in text
    rows = next(check for check in CHECKS if check.name == "rows")
    assert rows.fix in text
    assert "2 architectures: 1 failed: bad" in text
    checks = read_records(tmp_path / "results/single").checks
    kept = {result["arch"]: result for result in checks.values()}
    failed = [row["name"] for row in kept["bad"]["findings"] if row["status"] == "failed"]
    assert failed == ["rows", "causality"]
    assert not kept["good"]["stale"]
    assert {row["status"] for row in kept["good"]["findings"]} == {"passed"}


@pytest.mark.slow
def test_an_architecture_that_exits_leaves_the_others_checked(
    tmp_path: Path, run_command: Command
) -> None:
    write_arch(tmp_path / "conf", "good", "tests.fake_architectures.Valid")
    for name in ("exits", "interrupts"):
        write_arch(tmp_path / "conf", name, f"tests.hostile.plugins.{name}_at_import.Plugin")
    arguments = ("--config-dir", "conf", "arch=exits,interrupts,good")
    done = run_command(*arguments, module="bench.check")
    assert done.returncode == 1, done.stderr
    assert "exits: cannot be checked: " in done.stdout
    assert "interrupts: cannot be checked: " in done.stdout
    assert f"good: all {len(CHECKS)} checks passed" in done.stdout


def test_the_table(snapshot: SnapshotAssertion) -> None:
    rows = next(one for one in CHECKS if one.name == "rows")
    results = [
        CheckResult(rows, "passed", "the second row is equal"),
        CheckResult(rows, "failed", "rows are mixed", "mixes-rows"),
        CheckResult(rows, "skipped", "not needed"),
    ]
    assert f"{check.format_table(results)}\n{check.summary_line(results)}" == snapshot


@pytest.mark.slow
def test_every_failing_fake_is_found(run_command: Command, tmp_path: Path) -> None:
    for name in FAILING:
        write_arch(tmp_path / "conf", name.lower(), f"tests.fake_architectures.{name}")
    choices = f"arch={','.join(name.lower() for name in FAILING)}"
    done = run_command("--config-dir", "conf", choices, module="bench.check")
    assert done.returncode == 1, done.stderr
    assert f"{len(FAILING)} architectures: {len(FAILING)} failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config-dir", "conf", "arch=lost"], "no_such_module.Model"),
        (["arch=nothing_of_the_kind"], "arch=nothing_of_the_kind"),
        (["--config-dir", "nowhere", "arch=rnn"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_arch(tmp_path / "conf", "lost", "no_such_module.Model")
    assert check.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert words in error
    assert "\n" not in error


def test_help_of_check_and_new_needs_no_torch() -> None:
    code = (
        "import sys, bench.check, bench.new; assert not bench.check.main(['--help']); "
        "bench.new.parse_arguments(['mine']); "
        "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python -m bench.check arch=mine" in done.stdout
