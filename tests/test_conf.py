"""Every file under conf/ composes into a run that its checks accept, and says in its first line what it is."""

from pathlib import Path

import pytest
import yaml

from bench.cli import compose
from bench.config.errors import UserError
from bench.config.identity import workload_id
from bench.config.schema import RESERVED_KEYS, constructor_options
from bench.config.validation import validate_run
from tests.conftest import OWN

CONF = Path(__file__).parent.parent / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
compose.register()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_a_file_opens_with_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# ")
    assert len(first) > 30


CHOICES = [
    path for path in FILES if path.parent.name in compose.GROUPS and path.parent.name != "arch"
]  # suite=all has those


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: path.stem)
def test_every_choice_of_every_group_composes(path: Path) -> None:
    asked = compose.compose_sweep([f"{path.parent.name}={path.stem}"])
    assert asked.runs[0].names[path.parent.name] == path.stem
    validate_run(asked.runs[0])


LONG = ("floors",)  # many cells, each of which is composed
SUITES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG))
    for path in sorted((CONF / "suite").glob("*.yaml"))
]


@pytest.mark.parametrize("path", SUITES)
def test_a_suite_is_a_sweep_into_a_folder_of_its_name(path: Path) -> None:
    asked = compose.compose_sweep([f"suite={path.stem}", "seed=0"])
    assert asked.sweep
    assert len(asked.runs) > 1
    assert {run.suite for run in asked.runs} == {path.stem}
    if path.stem == "all":
        assert {run.names["arch"] for run in asked.runs} == {arch.stem for arch in OWN}


@pytest.mark.parametrize("path", sorted((CONF / "arch").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_architecture_says_what_it_is(path: Path) -> None:
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert arch["family"]
    assert arch["card"]["summary"]
    assert arch["tune"]["learning_rate"] > 0
    assert not set(constructor_options(arch)) & set(RESERVED_KEYS)


def test_the_first_architecture_of_a_suite_is_the_reference_of_its_speeds_whatever_the_control_repeats() -> (
    None
):
    runs = compose.compose_sweep(["suite=default"]).runs
    assert [run.names["arch"] for run in compose.distinct(runs, workload_id)][:2] == ["rnn", "gru"]
    assert compose.distinct(runs, lambda run: run.names["arch"])[0] is runs[0]


def test_the_command_line_wins_over_a_suite() -> None:
    asked = compose.compose_sweep(["suite=default", "arch=gpt", "seed=7", "train.steps=3"])
    assert [(run.names["arch"], run.seed, run.train.steps) for run in asked.runs] == [("gpt", 7, 3)]


def test_sweeps_of_every_kind() -> None:
    runs = compose.compose_sweep(["-m", "arch=glob(g*,exclude=gr*)", "seed=range(0,2)"]).runs
    assert {run.seed for run in runs} == {0, 1}
    assert {run.names["arch"] for run in runs} == {
        p.stem for p in (CONF / "arch").glob("g*.yaml") if not p.stem.startswith("gr")
    }


def test_flags_may_stand_between_overrides() -> None:
    assert compose.split_flags(["arch=rnn,gpt", "-m", "seed=1"]) == (
        ["-m"],
        ["arch=rnn,gpt", "seed=1"],
    )
    assert compose.split_flags(["a=1", "--config-dir", "x", "b=2"]) == (
        ["--config-dir", "x"],
        ["a=1", "b=2"],
    )


def test_several_values_without_the_flag_is_a_mistake() -> None:
    with pytest.raises(UserError, match="add -m"):
        compose.compose_sweep(["arch=rnn,gpt"])


@pytest.mark.parametrize(
    "words",
    [["suite=null"], ["data=null", "seed=1"], ["-m", "suite=null,smoke"], ["arch=3"]],
    ids=" ".join,
)
def test_a_choice_that_is_no_word_is_a_mistake(words: list[str]) -> None:
    with pytest.raises(
        UserError,
        match=r"(suite=null|data=null|arch=3) is no name of a YAML: leave it out, or name one of conf/",
    ):
        compose.compose_sweep(words)
