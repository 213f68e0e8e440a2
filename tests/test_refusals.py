"""Whatever can be wrong in a command, a YAML or a file is one line before any work: what is wrong, where, what to do."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from bench import generate, model, new, reporting
from bench.cli import compose
from bench.config.errors import UserError
from bench.config.schema import Run, SizeConfig
from bench.data.tokenizer import ByteVocabulary
from bench.training import save_weights

from . import fake_records

compose.register()
RNN = "_target_: architectures.rnn.RNN\nlayers: 2\n"


def refused(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        compose.compose_sweep(words)
    said = str(caught.value)
    assert "\n" not in said
    assert not [
        jargon
        for jargon in ("full_key", "object_type", "Exception", "Error merging", "ListConfig")
        if jargon in said
    ]
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "arch=glob(zzz*)"], "arch=glob(zzz*) names nothing; known: "),
        (["-m", "seed=range(0,0)"], "seed=range(0,0) names nothing"),
        (["-m", "seed=interval(0,1)"], "list them, or take range(first,behind)"),
        (["+train.step=500"], "train.step is no key; did you mean train.steps"),
        (["-m", "+train.step=1,2"], "train.step is no key"),
        (["+nonsense.key=5"], "nonsense is no key"),
        (["++foo=1"], "foo is no key; python -m bench.run --help lists what there is"),
        (["+data.synthetic.x=1"], "data.synthetic.x is no key"),
        (["+names.arch=x"], "names.arch is filled in by the bench"),
        (["+train=standard"], "leave the + in front of it out"),
        (["results="], "results="),
        (["-m", "results=a,b"], "results=a,b: one command writes into one folder"),
        (["-m", "suite=default,smoke"], "suite=default,smoke: one command writes into one folder"),
        (["train.steps=null"], "train.steps=null: train.steps can not be empty"),
        (
            ["train.steps=abc"],
            "train.steps: value 'abc' of type 'str' could not be converted to integer",
        ),
        (["train.steps=???"], "train.steps has no value"),
        (["data.path=null"], "data.path=null: data.path can not be empty"),
        (["data.path=[a,b]"], "data.path=[a,b]: data.path takes one word"),
        (["data.parts=3"], "data.parts takes names with values"),
        (["measure.lengths=abc"], "measure.lengths takes a list, as in measure.lengths=[1,2]"),
        (["arch.layers=${x}"], "arch.layers: Interpolation key 'x' not found"),
        (["~train"], "every run needs one train, by its name: leave ~train out"),
        (["~train.steps"], "every run needs train.steps"),
        (["~nonsense"], "nonsense is no key"),
        (["arch="], "arch= is not known; known: bert, "),
        (["-m", "arch="], "arch= is not known; known: bert, "),
        (["arch={a:b}"], "arch takes one name of a YAML"),
        (["suite=../../x"], "suite=../../x is not known; known: all, default, "),
        (["train@x=standard"], "leave @x out"),
        (
            ["results=a,b"],
            "add -m to run them all; a comma that belongs to one value is quoted, as in 'results=\"a,b\"'",
        ),
        (["results=a=b"], "into quotes of its own, as in 'results=\"a=b\"'"),
        (["data.path=/x/(1).txt"], "into quotes of its own, as in 'data.path=\"/x/(1).txt\"'"),
        (["results='a"], "close its quotes"),
        (["nonsense"], "nonsense is no key=value"),
        (["=3"], "=3 has no key"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_words_is_one_line(words: list[str], said: str) -> None:
    assert said in refused(*words)


def test_a_plus_stays_where_it_is_meant() -> None:
    run = compose.compose_sweep(
        ["+arch.further=3", "+data.parts.train=x", "+hydra.job.foo=1", 'results="a,b=c"']
    ).runs[0]
    assert run.arch["further"] == 3
    assert run.data.parts == {"train": "x"}
    assert run.results == "a,b=c"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{RNN}layers: [\n", "mine.yaml, line 4: no YAML (expected the node content"),
        (f"{RNN}layers: 3\n", "mine.yaml, line 3: no YAML (found duplicate key layers)"),
        ("- 1\n", "arch/mine.yaml can not be taken in (it is a list)"),
        ("# \udce9\n", "mine.yaml: byte 2 is no UTF-8"),
        (f"{RNN}tune: 5\n", "arch=mine: tune=5 must be learning_rate"),
        (
            f"{RNN}tune: {{learning_rate: abc}}\n",
            "arch=mine: tune.learning_rate=abc must be a number from 1e-08 to 10",
        ),
        (f"{RNN}tune: {{learning_rate: .nan}}\n", "arch=mine: tune.learning_rate=nan must be"),
        (
            f"{RNN}tune: {{learning_rate: {{adamw: 1.0e-3, muon: 99}}}}\n",
            "arch=mine: tune.learning_rate=99 must be",
        ),
        (
            f"{RNN}tune: {{learning_rate: 0.01, trials: many}}\n",
            "arch=mine: tune.trials=many must be an integer",
        ),
        (f"{RNN}tune: {{learning_rate: 0.01, space: 3}}\n", "arch=mine: tune.space=3 must be"),
        (
            f"{RNN}tune: {{learning_rate: 0.01}}\ncard: 7\n",
            "arch=mine: card=7 must be summary and paper",
        ),
        (
            f"{RNN}tune: {{learning_rate: 0.01}}\ncard: {{summary: [1]}}\n",
            "arch=mine: card.summary=[1] must be text",
        ),
        (
            f"{RNN}tune: {{learning_rate: 0.01}}\nfamily: [1,2]\n",
            "arch=mine: family=[1, 2] must be a word",
        ),
        ("a word\n", "arch=mine has no _target_"),
    ],
)
def test_a_mistake_in_an_architectures_yaml_is_one_line(
    text: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "arch"
    folder.mkdir()
    (folder / "mine.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert said in refused("--config-dir", str(tmp_path), "arch=mine")


def test_the_report_survives_records_that_an_older_door_let_through(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for name, more in (
        ("lstm", {"card": 7}),
        ("gru", {"family": [1, 2]}),
        ("decoder", {"tune": {"trials": "many"}}),
    ):
        fake_records.write_run(root, name, 0)
        config = next(root.glob(f"runs/{name}-*/config.yaml"))
        tree = yaml.safe_load(config.read_text())
        tree["arch"] |= more
        tree["train"]["learning_rate"] = None
        config.write_text(yaml.safe_dump(tree))
    page = reporting.make_report(root)[0].read_text(encoding="utf-8")
    assert all(folder.name in page for folder in root.glob("runs/*"))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run as training leaves it, of a model that was never trained."""
    arch = {"_target_": "tests.fake_architectures.Valid", "tune": {"learning_rate": 1e-3}}
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(dataclasses.asdict(Run(arch=arch, size=SizeConfig(context=32))))
    )
    made = model.build_model(arch, 16, 32, ByteVocabulary.size, seed=0)
    save_weights(tmp_path / "checkpoint", made, ByteVocabulary(), 16)
    return tmp_path


def test_what_is_whole_writes(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert generate.main([str(trained), "--prompt", "a", "--tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("a")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocabulary.json", "[]", "vocabulary.json is damaged or missing"),
        ("vocabulary.json", "{", "vocabulary.json is damaged or missing"),
        (
            "vocabulary.json",
            '{"kind": "bpe", "tokenizer": "?"}',
            "vocabulary.json is damaged or missing",
        ),
        (
            "vocabulary.json",
            '{"kind": "symbols", "count": 3}',
            "weights.pt does not fit the model that config.yaml",
        ),
        ("vocabulary.json", None, "vocabulary.json is damaged or missing"),
        ("weights.pt", "?", "weights.pt is damaged or missing"),
        ("weights.pt", None, "has no weights"),
    ],
)
def test_a_broken_file_of_a_trained_run_is_named(
    name: str, content: str | None, said: str, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    path = trained / "checkpoint" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert generate.main([str(trained)]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ")
    assert said in line
    assert "\n" not in line


def test_a_device_that_is_none_is_named(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert generate.main([str(trained), "--device", "toaster"]) == 2
    assert "device toaster can not be used" in capsys.readouterr().err
    assert generate.main([str(trained), "--tokens", "many"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_name_of_the_bench_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new.main(["rnn"]) == 2
    assert "arch=rnn is there already, by the project" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
