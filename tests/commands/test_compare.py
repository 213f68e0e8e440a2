"""`bench.compare`: exit codes, its page, its CSV file and its sentences."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from syrupy.assertion import SnapshotAssertion

from bench import compare
from tests.analysis.test_compare import write_runs, write_session

Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp("versions"), np.random.default_rng(2)
    write_session(write_runs(root / "old", draw), draw)
    write_session(write_runs(root / "new", draw, {"gru": 0.03}), draw, sizes={"lstm": 1.2})
    return root


@pytest.fixture
def call(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Compare:
    monkeypatch.chdir(folders)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = compare.main(arguments)
        return code, *capsys.readouterr()

    return run


def test_a_regression_is_exit_code_1_with_page_and_csv(
    call: Compare, folders: Path, snapshot: SnapshotAssertion
) -> None:
    code, out, _ = call("old", "new")
    assert code == 1
    assert out == snapshot
    page = (folders / "new" / "report" / "compare.html").read_text(encoding="utf-8")
    assert "2 regressions" not in page  # three: the quality of one, the memory of another by two
    assert page.count("<script") == 2  # of the ordinary page, without its charts: script and data
    assert 'id="changes-quality"' in page
    table = pd.read_csv(folders / "new" / "report" / "compare.csv")
    worse = table[table["verdict"] == "worse"]
    assert set(worse["label"]) == {"gru", "lstm"}
    assert worse["low"].min() > 0


def test_kinds_that_show_no_regression_are_exit_code_0(call: Compare) -> None:
    code, out, _ = call("old", "new", "fail=speed", "threshold=0.01")
    assert (code, out.splitlines()[0]) == (0, "No regression is shown.")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("old",), "invalid-command"),
        (("old", "old"), "invalid-command"),
        (("old", "absent"), "no-records"),
        (("old", "new", "fail=sped"), "unknown-choice"),
        (("old", "new", "tolerance=1"), "unknown-key"),
        (("old", "new", "threshold=0.02"), "conflicting-values"),
        (("old", "new", "threshold.speed=2%"), "invalid-value"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    call: Compare, arguments: tuple[str, ...], reason: str
) -> None:
    code, _, error = call(*arguments)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert f"[{reason}]" in error
