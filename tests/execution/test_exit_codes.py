"""However somebody else's code ends its process, the command goes on, and the record says why."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import check, model
from bench.cli.sweep import CommandLine, Job, Sweep
from bench.config.errors import UserError
from bench.config.schema import DataConfig, Run, SizeConfig, TrainConfig
from bench.execution import dry_run, runner, worker
from bench.model.contract.before_training import check_before_training
from bench.records import store
from bench.system import processes
from tests import fake_architectures
from tests.conftest import Command, assert_one_error

ARCH = {"_target_": "tests.fake_architectures.Valid", "tune": {"learning_rate": 1e-3}}


class LeavesWhenMade(fake_architectures.Valid):
    def __init__(self, width: int, context: int) -> None:
        sys.exit(0)


class LeavesInForward(fake_architectures.Valid):
    def forward(self, x, state=None, lengths=None):  # type: ignore[no-untyped-def]
        sys.exit(0)


def a_run(folder: Path, **train: object) -> Run:
    names = {"arch": "mine", "data": "text", "size": "tiny", "objective": "auto"}
    return Run(arch=dict(ARCH), train=TrainConfig(**train), names=names, results=str(folder))  # type: ignore[arg-type]


# --- sys.exit in an architecture ------------------------------------------------------------------


def test_a_module_that_exits_while_it_is_imported_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves_on_import.py").write_text("import sys; sys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        model.ModelBuildError,
        match=r"leaves_on_import.Model cannot be imported: SystemExit: it called sys.exit\(3\)",
    ):
        model.backbone_class({"_target_": "leaves_on_import.Model"})


def test_an_architecture_that_exits_when_it_is_made_is_a_line() -> None:
    arch = {"_target_": "tests.execution.test_exit_codes.LeavesWhenMade"}
    with pytest.raises(
        model.ModelBuildError, match=r"cannot be built: SystemExit: it called sys.exit\(0\)"
    ):
        model.build_model(arch, 16, 8, 11, seed=0)
    with pytest.raises(
        model.ModelBuildError, match=r"cannot be built: SystemExit: it called sys.exit\(0\)"
    ):
        model.solve_width(arch, 20_000, 8, 11)


def test_an_architecture_that_exits_in_forward_is_found_before_training() -> None:
    made = model.build_model(
        {"_target_": "tests.execution.test_exit_codes.LeavesInForward"}, 16, 8, 11, seed=0
    )
    with pytest.raises(
        model.ModelBuildError, match=r"it raised SystemExit: it called sys.exit\(0\)"
    ):
        check_before_training(made)


def test_the_check_passes_nobody_who_exits(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("LeavesWhenMade", "LeavesInForward"):
        path = tmp_path / "arch" / f"{name.lower()}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"_target_: tests.execution.test_exit_codes.{name}\ntune: {{learning_rate: 0.001}}\n"
        )
    assert check.main(["--config-dir", str(tmp_path), "arch=leaveswhenmade"]) == 2
    assert "SystemExit: it called sys.exit(0)" in capsys.readouterr().err
    assert check.main(["--config-dir", str(tmp_path), "arch=leavesinforward"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_an_exit_while_it_trains_stands_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: object) -> None:
        sys.exit(0)

    monkeypatch.setattr(worker, "train_and_score", leaves)
    assert worker.run_and_record(a_run(tmp_path), tmp_path) == 4
    result = store.read_json(tmp_path / "result.json")
    assert (result["status"], result["reason"]) == ("failed", "SystemExit: it called sys.exit(0)")


def train_with_code(code: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the record of a run whose worker ended with a code, and left no result."""
    job = Job(a_run(folder), ())
    monkeypatch.setattr(runner, "_run_worker", lambda *_: processes.ProcessResult(code))
    assert runner.run_in_subprocess(job, CommandLine())
    return store.attempt_folders(job.run)[-1]


@pytest.mark.parametrize("code", [0, 2, 4])
def test_an_exit_code_without_a_result_is_a_failure(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = store.read_json(train_with_code(code, tmp_path, monkeypatch) / "result.json")
    assert result["status"] == "failed"
    assert f"code {code}" in result["reason"]


@pytest.mark.parametrize("code", [3, 5])
def test_a_stopped_run_stays_unfinished(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train_with_code(code, tmp_path, monkeypatch)
    assert store.run_status(folder) == "unfinished"


def test_a_cell_that_nobody_named_is_a_line(capsys: pytest.CaptureFixture) -> None:
    for words in ([], ["nowhere.json", "here"], [__file__, "here"]):
        assert worker.main(words) == 2
        assert capsys.readouterr().err.startswith("error: no run is given")


# --- dry=true -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override", ["train.batch=1000000", "size.context=100000", "size.parameters=100"]
)
def test_a_forecast_promises_no_run_that_cannot_start(
    call_command: Command, tiny: list[str], override: str
) -> None:
    kept = [word for word in tiny if word.partition("=")[0] != "train.batch"]
    done = call_command("arch=bigram", "dry=true", *kept, override)
    assert_one_error(done, 2, override)


def test_a_forecast_makes_no_folder_and_reports_where_none_can_be(
    call_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert call_command("arch=bigram", "dry=true", *tiny).returncode == 0
    assert not (tmp_path / "results").exists()
    (tmp_path / "taken").touch()
    done = call_command("arch=bigram", "dry=true", "results=taken", *tiny)
    assert_one_error(done, 2, "results=taken")


def test_a_forecast_of_a_sweep_names_the_runs_that_cannot_start(
    call_command: Command, tiny: list[str]
) -> None:
    kept = [word for word in tiny if not word.startswith("train.batch")]
    done = call_command("-m", "arch=bigram", "train.batch=4,1000000", "dry=true", *kept)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot start: ") == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_forecast_builds_equal_models_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    built = []

    def build(run: Run, corpus: object) -> dry_run.ModelSize:
        built.append(run.seed)
        if fails:
            raise UserError("no width fits", "no-width")
        return dry_run.ModelSize(width=8)

    monkeypatch.setattr(dry_run, "model_size", build)
    sizes: dry_run.Sizes = {}
    for seed in (0, 1):
        run = replace(a_run(tmp_path), seed=seed)
        if fails:
            with pytest.raises(UserError, match="no width fits"):
                dry_run.size_once(sizes, run, None)  # type: ignore[arg-type]
        else:
            assert dry_run.size_once(sizes, run, None).width == 8  # type: ignore[arg-type]
    assert built == [0]


def test_a_forecast_needs_no_learning_rate_that_a_search_is_to_find(
    text: Path, tmp_path: Path
) -> None:
    run = a_run(tmp_path)
    space = {"learning_rate": [1e-3, 1e-2]}
    run.arch = {"_target_": "tests.fake_architectures.Valid", "tune": {"space": space}}
    run.data, run.size, run.tune.trials = DataConfig(path=str(text)), SizeConfig(30_000, 32), 2
    assert dry_run.forecast(Sweep((Job(run, ()),))).count("mine-text-s") == 3  # and two trials
    run.size = SizeConfig(10, 32)
    with pytest.raises(UserError, match=r"size\.parameters=10"):
        dry_run.forecast(Sweep((Job(run, ()),)))
