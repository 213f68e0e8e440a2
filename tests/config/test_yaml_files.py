"""Every file under conf/ has a comment that describes it and composes into a valid run."""

from pathlib import Path

import pytest
import yaml

from bench.cli import compose
from bench.cli.overrides import GROUPS
from bench.cli.sweep import distinct, split_flags
from bench.config.errors import UserError
from bench.config.identity import workload_id
from bench.config.schema import RESERVED_KEYS, constructor_options
from bench.config.validation import validate_run
from tests.conftest import OWN, ROOT, each_architecture

CONF = ROOT / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
FAMILIES = {"attention", "recurrent", "linear", "convolution", "encoder", "hybrid", "control"}
GROUP_FILES = [  # suite=all composes the architectures
    path for path in FILES if path.parent.name in GROUPS and path.parent.name != "arch"
]
SUITES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem == "floors"))
    for path in sorted((CONF / "suite").glob("*.yaml"))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_a_file_opens_with_a_comment(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# ")
    assert len(first) > 30


@pytest.mark.parametrize("path", GROUP_FILES, ids=lambda path: path.stem)
def test_every_choice_of_every_group_composes(path: Path) -> None:
    run = compose.compose_sweep([f"{path.parent.name}={path.stem}"]).runs[0]
    assert run.names[path.parent.name] == path.stem
    validate_run(run)


@pytest.mark.parametrize("path", SUITES)
def test_a_suite_is_a_sweep_into_a_folder_of_its_name(path: Path) -> None:
    sweep = compose.compose_sweep([f"suite={path.stem}", "seed=0"])
    assert sweep.is_sweep
    assert len(sweep.runs) > 1
    assert {run.suite for run in sweep.runs} == {path.stem}
    if path.stem == "all":
        assert {run.names["arch"] for run in sweep.runs} == {arch.stem for arch in OWN}


@pytest.mark.parametrize("path", each_architecture())
def test_an_architecture_is_described(path: Path) -> None:
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert arch["family"] in FAMILIES
    assert arch["card"]["summary"].strip().count(". ") == 1, "two sentences"
    low, high = arch["tune"]["space"]["learning_rate"]
    assert low < arch["tune"]["learning_rate"] < high
    assert not set(constructor_options(arch)) & set(RESERVED_KEYS)


def test_the_first_architecture_of_a_suite_is_the_reference_of_speeds() -> None:
    runs = compose.compose_sweep(["suite=default"]).runs
    first = [run.names["arch"] for run in distinct(runs, workload_id)][:2]
    assert first == ["rnn", "gru"]
    assert distinct(runs, lambda run: run.names["arch"])[0] is runs[0]


def test_the_command_line_wins_over_a_suite() -> None:
    runs = compose.compose_sweep(["suite=default", "arch=gpt", "seed=7", "train.steps=3"]).runs
    assert [(run.names["arch"], run.seed, run.train.steps) for run in runs] == [("gpt", 7, 3)]


def test_sweeps_expand_globs_and_ranges() -> None:
    runs = compose.compose_sweep(["-m", "arch=glob(g*,exclude=gr*)", "seed=range(0,2)"]).runs
    matching = {path.stem for path in (CONF / "arch").glob("g[!r]*.yaml")}
    assert {run.seed for run in runs} == {0, 1}
    assert {run.names["arch"] for run in runs} == matching


def test_flags_may_stand_between_overrides() -> None:
    command = split_flags(["arch=rnn", "-m", "seed=1", "--config-dir", "x"])
    assert command.arguments == ["-m", "--config-dir", "x", "arch=rnn", "seed=1"]


def test_several_values_need_the_flag() -> None:
    with pytest.raises(UserError, match="-m"):
        compose.compose_sweep(["arch=rnn,gpt"])


@pytest.mark.parametrize(
    "overrides",
    [["suite=null"], ["data=null", "seed=1"], ["-m", "suite=null,smoke"], ["arch=3"]],
    ids=" ".join,
)
def test_a_choice_has_to_be_a_name(overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"suite=null|data=null|arch=3"):
        compose.compose_sweep(overrides)
