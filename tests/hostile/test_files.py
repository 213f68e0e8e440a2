"""Files that somebody else wrote: each is refused, at once, and nothing hangs or fills memory."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench.config.errors import UserError
from bench.execution import worker
from bench.planning import budget, search
from bench.records import load_measurement, store
from bench.records.loading import load_record, read_config, read_json
from bench.records.tables import read_records
from bench.records.validation import checks_error, search_error
from bench.system import files, processes, signals
from tests import fake_records
from tests.execution.test_exit_codes import a_run
from tests.planning.test_budget import asked

BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(files.MAX_TEXT_BYTES + 1)  # takes no space


@pytest.mark.parametrize("make", [os.mkfifo, link_to_zeros, large, Path.mkdir])
@pytest.mark.parametrize("name", ["result.json", "config.yaml", "curve.jsonl"])
def test_a_record_is_read_from_regular_files_of_bounded_size(
    name: str, make: Callable[[Path], Any], tmp_path: Path
) -> None:
    make(tmp_path / name)
    assert load_record(tmp_path).status in ("absent", "unfinished", "unreadable")
    assert store.read_curve(tmp_path) == []


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a [*a]\n", "a: " + "[" * 100_000, "- " * 100_000, "a: " + "{b: " * 100_000]
)
def test_a_configuration_that_grows_without_end_is_unreadable(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert read_config(tmp_path / "config.yaml") is None


def test_aliases_of_little_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_config(tmp_path / "config.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "content", [[], 3, {}, {"steps": "many"}, {"steps": 0}, {"steps": 5, "machine": []}]
)
def test_a_damaged_plan_is_no_plan(content: Any, tmp_path: Path) -> None:
    run = asked(tmp_path, match="flops", budget=1e9)
    path = budget.plan_path(run)
    store.write_json(path, {"steps": 7})
    assert budget.apply_plan(run).train.steps == 7
    store.write_json(path, content)
    assert budget.apply_plan(run) == run


TRIAL = {"score": 1.0, "values": {"learning_rate": 0.1}}
SEARCH = {
    "arch": "rnn", "metric": "regret", "steps": 1, "batch": 1, "context": 8, "space": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "trials", ["ab", [1], [{}], [TRIAL | {"repeats": 3}], [TRIAL | {"repeats": [[]]}]]
)
def test_a_damaged_search_is_named_and_not_applied(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert search_error(SEARCH | {"trials": [TRIAL]}) == ""
    assert search_error(SEARCH | {"trials": trials}) != ""
    path = tmp_path / "search.json"
    store.write_json(path, SEARCH | {"trials": trials})
    monkeypatch.setattr(search, "search_path", lambda run: path)
    run = a_run(tmp_path)
    run.tune.trials = 1
    assert search.has_open_searches([run])


CHECKS = {"architecture": "a", "target": "m.C", "source": "s"}


@pytest.mark.parametrize("findings", [3, ["x"], [{"name": "rows"}], [{"name": 1, "status": []}]])
def test_damaged_contract_results_are_named(findings: Any, tmp_path: Path) -> None:
    assert checks_error(CHECKS | {"findings": [{"name": "rows", "status": "passed"}]}) == ""
    store.write_json(tmp_path / "checks" / "x.json", CHECKS | {"findings": findings})
    records = read_records(tmp_path)
    assert records.checks == {}
    assert records.excluded["run"].tolist() == ["checks/x.json"]


@pytest.mark.parametrize("described", [{"card": True}, {"family": [1]}, 3])
def test_a_damaged_description_is_named(described: Any, tmp_path: Path) -> None:
    fake_records.write_measure(tmp_path, "rnn")
    path = next(tmp_path.rglob("subject.json"))
    store.write_json(path, read_json(path) | {"described": described})
    assert "described" in load_measurement(path.parent)[2]


def test_no_folder_for_temporary_files_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    with pytest.raises(UserError) as error:
        files.check_temporary_folder()
    assert error.value.code == "not-writable"


def test_a_run_whose_folder_is_removed_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, folder = a_run(tmp_path), tmp_path / "run"
    folder.mkdir()
    (tmp_path / "run.json").write_text(json.dumps(asdict(run)))

    def remove(run: Any, folder: Path) -> int:
        shutil.rmtree(folder)
        store.append_curve(folder, {"step": 1})
        return 0

    monkeypatch.setattr(worker, "run_and_record", remove)
    monkeypatch.setattr(signals, "install_stop_handlers", lambda: None)
    monkeypatch.setattr(signals, "_deferring", [])
    code = worker.main([str(tmp_path / "run.json"), str(folder)])
    assert code == processes.EXIT_NOT_RECORDED
    assert caplog.messages[-1].startswith(f"{folder} was removed")
