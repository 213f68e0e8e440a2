"""Mistakes in a command line or a YAML: one line each, with a reason code."""

import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from bench.cli import compose
from bench.config.errors import REASONS, UserError

RNN = "_target_: architectures.rnn.RNN\nlayers: 2\n"


def user_error(*arguments: str) -> str:
    """Return the message and the code of what is wrong with a command line."""
    with pytest.raises(UserError) as error:
        compose.compose_sweep(arguments)
    message = str(error.value)
    assert error.value.code in REASONS
    assert "\n" not in message
    assert not re.search("full_key|object_type|Exception|Error merging|ListConfig", message)
    return re.sub("known: .*", "known: …", message) + f" [{error.value.code}]"


@pytest.mark.parametrize(
    "arguments",
    [
        "-m arch=glob(zzz*)",
        "-m seed=range(0,0)",
        "-m seed=interval(0,1)",
        "+train.step=500",
        "-m +train.step=1,2",
        "+nonsense.key=5",
        "++foo=1",
        "+data.synthetic.x=1",
        "+names.arch=x",
        "+train=standard",
        "results=",
        "-m results=a,b",
        "-m suite=default,smoke",
        "train.steps=null",
        "train.steps=abc",
        "train.steps=1e3",
        "arch=[rnn,gpt]",
        "-m arch=rnn,conf/arch/gpt.yaml",
        "train.steps=???",
        "data.path=null",
        "data.path=[a,b]",
        "data.parts=3",
        "measure.lengths=abc",
        "arch.layers=${x}",
        "~train",
        "~train.steps",
        "~nonsense",
        "arch=",
        "-m arch=",
        "arch={a:b}",
        "suite=../../x",
        "train@x=standard",
        "results=a,b",
        "results=a=b",
        "data.path=/x/(1).txt",
        "results='a",
        "nonsense",
        "=3",
        "--nonsense",
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(
    arguments: str, snapshot: SnapshotAssertion
) -> None:
    assert user_error(*arguments.split()) == snapshot


def test_a_plus_stays_where_it_is_meant() -> None:
    run = compose.compose_sweep(
        ["+arch.further=3", "+data.parts.train=x", "+hydra.job.foo=1", 'results="a,b=c"']
    ).runs[0]
    assert run.arch["further"] == 3
    assert run.data.parts == {"train": "x"}
    assert run.results == "a,b=c"


@pytest.mark.parametrize(
    "text",
    [
        RNN + "layers: [\n",
        RNN + "layers: 3\n",
        "- 1\n",
        "# \udce9\n",
        RNN + "tune: 5\n",
        RNN + "tune: {learning_rate: abc}\n",
        RNN + "tune: {learning_rate: .nan}\n",
        RNN + "tune: {learning_rate: {adamw: 1.0e-3, muon: 99}}\n",
        RNN + "tune: {learning_rate: 0.01, trials: many}\n",
        RNN + "tune: {learning_rate: 0.01, space: 3}\n",
        RNN + "tune: {learning_rate: 0.01}\ncard: 7\n",
        RNN + "tune: {learning_rate: 0.01}\ncard: {summary: [1]}\n",
        RNN + "tune: {learning_rate: 0.01}\nfamily: [1,2]\n",
        "a word\n",
    ],
)
def test_a_mistake_in_an_architectures_yaml_is_one_line(
    text: str, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    folder = tmp_path / "arch"
    folder.mkdir()
    (folder / "mine.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    message = user_error("--config-dir", str(tmp_path), "arch=mine")
    assert "mine" in message
    assert message.replace(str(tmp_path), "") == snapshot
