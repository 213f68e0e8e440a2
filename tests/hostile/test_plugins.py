"""Plug-ins with a wrong number each: where it is found, and that it is.

The first line of a plug-in says the reason code of its run, of its score where it is scored without
the checks before training, and the check of the contract that fails.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import data
from bench.cli.compose import compose_sweep
from bench.config.schema import Run
from bench.evaluation import suite
from bench.evaluation.leak_check import LeakDetected
from bench.execution import worker
from bench.model import ModelBuildError, build_model
from bench.model.contract import CHECKS, ModelUnderTest, run_check
from bench.records import store
from bench.training import build_objective, train_settings
from tests.conftest import write_words

FOLDER = Path(__file__).parent / "plugins"
PLUGINS = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
OPTIONS = (
    "arch=cnn data=text measure=off size.parameters=20000 size.context=64 train.steps=4 "
    "train.batch=4 train.validations=1 evaluate.stretches=2 evaluate.windows=4 "
    "evaluate.fillings=0 evaluate.sample_tokens=0 evaluate.pseudo_positions=80"
).split()


def verdict(name: str) -> dict[str, str]:
    """Return what a plug-in's first line says."""
    line = (FOLDER / f"{name}.py").read_text(encoding="utf-8").partition("\n")[0]
    return dict(re.findall(r"(\w+): ([\w-]+)", line))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile")
    text = write_words(folder / "words.txt", 20_000)
    overrides = [*OPTIONS, f"data.path={text}", f"results={folder / 'results'}"]
    return compose_sweep(overrides).runs[0]


def with_plugin(run: Run, name: str) -> Run:
    target = f"tests.hostile.plugins.{name}.Plugin"
    return replace(run, arch={"_target_": target, "tune": {"learning_rate": 1e-3}})


def outcome(run: Run) -> str:
    """Return the status of a run in this process, or the reason code of its failure."""
    module = str(run.arch["_target_"]).rpartition(".")[0]
    if module.startswith("tests.hostile."):
        sys.modules.pop(module, None)
    folder = store.attempt_folders(run)[-1]
    store.create_record(folder, run, {}, {})
    worker.run_and_record(run, folder)
    result = store.read_result(folder)
    return result["status"] if result["status"] == "done" else result["facts"]["code"]


@pytest.mark.parametrize("name", PLUGINS)
def test_a_run_ends_with_its_reason(name: str, run: Run) -> None:
    assert outcome(with_plugin(run, name)) == verdict(name)["run"]


@pytest.mark.parametrize("name", [name for name in PLUGINS if verdict(name)["score"] == "leak"])
def test_a_score_shows_its_leak(name: str, run: Run) -> None:
    run = with_plugin(run, name)
    corpus = data.prepare(run.data, "text")
    model = build_model(run.arch, 24, run.size.context, corpus.vocabulary.size, seed=0)
    objective = build_objective(run.objective, model)
    with pytest.raises(LeakDetected, match=r"^leak: "):
        suite.score_model(objective, corpus, run, train_settings(run))


@pytest.mark.parametrize("name", [name for name in PLUGINS if verdict(name)["check"] != "none"])
def test_the_contract_finds_it(name: str) -> None:
    expected, arch = verdict(name)["check"], {"_target_": f"tests.hostile.plugins.{name}.Plugin"}
    sys.modules.pop(f"tests.hostile.plugins.{name}", None)
    if expected == "not-built":
        with pytest.raises(ModelBuildError) as error:
            ModelUnderTest(arch)
        assert error.value.code == verdict(name)["run"]
        return
    model = ModelUnderTest(arch)
    (check,) = (check for check in CHECKS if check.name == expected)
    assert run_check(check, model).status == "failed"


def test_what_follows_a_refused_plugin_is_sound(run: Run) -> None:
    """A plug-in that replaced the loss changes nothing for the next one in the process."""
    sound = replace(
        run, arch={"_target_": "tests.fake_architectures.Valid", "tune": {"learning_rate": 1e-3}}
    )
    assert outcome(with_plugin(run, "patches_at_import")) == "changes-process"
    assert outcome(sound) == "done"
