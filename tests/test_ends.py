"""However somebody else's code ends its process, the command goes on, and the record says why."""

import sys
from pathlib import Path

import pytest

from bench import check, model, run
from bench.cli import compose
from bench.config.errors import UserError
from bench.config.schema import DataConfig, Run, SizeConfig, TrainConfig
from bench.contract.probes import check_before_training
from bench.execution import dry_run, runner, worker
from bench.records import store
from bench.system import processes
from tests import fake_architectures

from .conftest import Command, assert_one_error

compose.register()
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


# --- sys.exit in an architecture --------------------------------------------------------------------------------------


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
    arch = {"_target_": "tests.test_ends.LeavesWhenMade"}
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
        {"_target_": "tests.test_ends.LeavesInForward"}, 16, 8, 11, seed=0
    )
    with pytest.raises(
        model.ModelBuildError, match=r"it raised SystemExit: it called sys.exit\(0\)"
    ):
        check_before_training(made)


def test_the_check_passes_nobody_who_exits(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("LeavesWhenMade", "LeavesInForward"):
        path = tmp_path / "arch" / f"{name.lower()}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"_target_: tests.test_ends.{name}\ntune: {{learning_rate: 0.001}}\n")
    assert check.main(["--config-dir", str(tmp_path), "arch=leaveswhenmade"]) == 2
    assert "SystemExit: it called sys.exit(0)" in capsys.readouterr().err
    assert check.main(["--config-dir", str(tmp_path), "arch=leavesinforward"]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_an_exit_while_it_trains_stands_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: object) -> None:
        sys.exit(0)

    monkeypatch.setattr(worker, "train_and_score", leaves)
    assert worker.run_and_record(a_run(tmp_path), tmp_path, print) == 4
    result = store.read_json(tmp_path / "result.json")
    assert (result["status"], result["reason"]) == ("failed", "SystemExit: it called sys.exit(0)")


@pytest.mark.parametrize("code", [0, 2, 4])
def test_a_code_without_a_result_is_a_failure(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_launch", lambda *_: processes.ProcessResult(code))
    asked = a_run(tmp_path)
    runner._train_and_record(asked, [])
    result = store.read_json(store.attempt_folders(asked)[-1] / "result.json")
    assert (result["status"], result["reason"]) == (
        "failed",
        f"its process ended with code {code} and left no result",
    )


@pytest.mark.parametrize("code", [3, 5])
def test_a_run_that_was_stopped_is_taken_up_again(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_launch", lambda *_: processes.ProcessResult(code))
    asked = a_run(tmp_path)
    runner._train_and_record(asked, [])
    assert store.run_status(store.attempt_folders(asked)[-1]) == "unfinished"


def test_a_cell_that_nobody_named_is_a_line(capsys: pytest.CaptureFixture) -> None:
    for words in ([], ["nowhere.json", "here"], [__file__, "here"]):
        assert worker.main(words) == 2
        assert capsys.readouterr().err.startswith("error: no run is named")


# --- the command ------------------------------------------------------------------------------------------------------


def test_no_words_at_all_ask_for_the_default_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["bench.run"])
    monkeypatch.setattr(run, "preflight", lambda asked: None)
    monkeypatch.setattr(run, "run_hydra", lambda: swept.append(sys.argv[1:]))
    run.train(compose.Sweep([a_run(tmp_path)], False), [])
    run.train(compose.Sweep([a_run(tmp_path)], True), ["-m", "a=1"], ["-m", "b=2"])
    assert swept == [[], ["-m", "a=1"], ["-m", "b=2"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.batch=1000000"], "fewer than train.batch=1000000"),
        (["size.context=100000"], "size.context=100000 is longer than the train part"),
        (["size.parameters=100"], "size.parameters=100 is too small"),
    ],
)
def test_dry_promises_no_run_that_can_not_start(
    call_command: Command, tiny: list[str], words: list[str], said: str
) -> None:
    kept = [word for word in tiny if word.partition("=")[0] != "train.batch"]
    assert_one_error(call_command("arch=bigram", "dry=true", *kept, *words), 2, said)


def test_dry_makes_no_folder_and_sees_where_none_can_be(
    call_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert call_command("arch=bigram", "dry=true", *tiny).returncode == 0
    assert not (tmp_path / "results").exists()
    (tmp_path / "taken").touch()
    assert_one_error(
        call_command("arch=bigram", "dry=true", "results=taken", *tiny),
        2,
        "results=taken",
        "cannot be written",
    )


def test_dry_says_of_a_sweep_which_of_its_runs_can_not_start(
    call_command: Command, tiny: list[str]
) -> None:
    done = call_command(
        "-m",
        "arch=bigram",
        "train.batch=4,1000000",
        "dry=true",
        *[w for w in tiny if not w.startswith("train.batch")],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("can not start: the training part fills") == 1


def test_dry_needs_no_learning_rate_that_a_search_is_to_find(text: Path, tmp_path: Path) -> None:
    searched = a_run(tmp_path)
    searched.arch = {"_target_": "tests.fake_architectures.Valid"}
    searched.data, searched.size, searched.tune.trials = (
        DataConfig(path=str(text)),
        SizeConfig(30_000, 32),
        2,
    )
    assert "mine-text-s0-" in dry_run.forecast_table([searched])
    searched.size = SizeConfig(10, 32)
    with pytest.raises(UserError, match="too small"):
        dry_run.forecast_table([searched], sweep=False)
