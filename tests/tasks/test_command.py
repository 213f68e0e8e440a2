"""The real command: arms, trials, and a fine-tuning that is killed. Slow."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.cli import compose
from bench.execution import worker
from bench.records import store
from bench.records.task_tables import read_tasks
from tests.conftest import ROOT, Command, tiny_overrides, write_words
from tests.execution.disturbance import assert_readable, children, kill, until
from tests.tasks.test_examples import write_reviews

pytestmark = pytest.mark.slow
STEPS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished run, whose fine-tunings save every step, and a file."""
    place = tmp_path_factory.mktemp("command")
    text = write_words(place / "words.txt", 20_000)
    write_reviews(place / "reviews.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("BENCH_CACHE", str(place / "cache"))
        words = ["arch=cnn", "train.checkpoint_seconds=0", *tiny_overrides(text)]
        made = compose.compose_sweep(words).runs[0]
        folder = place / store.attempt_folders(made)[0]
        store.create_record(folder, made, {}, {})
        worker.train_and_score(made, folder)
    return place


def words(place: Path, *more: str) -> list[str]:
    fixed = ["task=labels", f"task.path={place / 'reviews.csv'}", f"task.steps={STEPS}"]
    return ["results/single", *fixed, "task.batch=8", *more]


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_CACHE": str(place / "cache")}


def finetune(where: Path, place: Path, *more: str) -> subprocess.CompletedProcess:
    call = [sys.executable, "-m", "bench.finetune", *words(place, *more)]
    return subprocess.run(
        call, cwd=where, env=environment(place), capture_output=True, text=True, check=False
    )


@pytest.fixture
def copied(place: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies the finished run into a folder of its own."""

    def copy(name: str) -> Path:
        shutil.copytree(place / "results", tmp_path / name / "results")
        return tmp_path / name

    return copy


def test_killed_twice_a_fine_tuning_ends_as_if_nothing_had_been(
    place: Path, copied: Callable[[str], Path]
) -> None:
    arm = ("task.start=pretrained", "task.trials=2")
    undisturbed, killed, draw = copied("undisturbed"), copied("killed"), random.Random(3)
    assert finetune(undisturbed, place, *arm).returncode == 0
    (expected,) = (undisturbed / "results/single/tasks").glob("cnn-*")
    call = [sys.executable, "-m", "bench.finetune", *words(place, *arm)]
    folder = killed / "results/single/tasks" / expected.name
    for moment in (
        lambda: (folder / "trials.json").exists(),
        lambda: len(store.read_curve(folder)) >= draw.randint(3, 10),
    ):
        process = subprocess.Popen(call, cwd=killed, env=environment(place), text=True)
        until(moment, process)
        kill(process, [process.pid, *children(process.pid)])
        assert_readable(folder)
        assert not (folder / "result.json").exists()
    assert finetune(killed, place, *arm).returncode == 0
    assert len(store.read_json(folder / "provenance.json")["starts"]) == 3
    for one, other in zip(contents(expected), contents(folder), strict=True):
        assert one == other


def contents(folder: Path) -> Iterator[object]:
    """Yield what a fine-tuning left, but for times: curve, metrics, trials, examples, weights."""
    yield [{**row, "seconds": 0} for row in store.read_curve(folder)]
    metrics = store.read_result(folder)["metrics"]
    yield [one for one in metrics if one["name"] != "train_seconds"]
    yield store.read_json(folder / "trials.json")["trials"]
    yield pd.read_parquet(folder / "examples.parquet").to_dict("records")
    for name, values in (("weights.pt", lambda saved: saved["model"]), ("head.pt", dict)):
        saved = values(torch.load(folder / "checkpoint" / name, weights_only=True))
        yield {key: value.numpy().tobytes() for key, value in saved.items()}


def test_every_arm_of_one_command(place: Path, copied: Callable[[str], Path]) -> None:
    root = copied("arms")
    arms = ("task.start=pretrained,self,scratch", "task.scratch_steps=1,3")
    done = finetune(root, place, *arms)
    assert done.returncode == 0, done.stderr
    suite = root / "results/single"
    tables = read_tasks(suite)
    assert sorted(tables.runs["arm"]) == ["pretrained", "scratch", "scratch × 3", "self"]
    assert set(tables.runs["status"]) == {"done"}
    assert tables.runs["group"].nunique() == 1
    (base,) = (suite / "task_bases").glob("cnn-labels-texts-*")
    own, usual = (store.read_result(one) for one in (base, next((suite / "runs").glob("cnn-*"))))
    tokens = [
        next(one["values"] for one in result["metrics"] if one["name"] == "tokens_seen")
        for result in (own, usual)
    ]
    assert tokens[0] == tokens[1]
    again = finetune(root, place, *arms)
    assert again.stderr.count("done before, not run again") == 6  # a start and a factor each


def test_minimal_pairs_of_a_users_own(
    place: Path, copied: Callable[[str], Path], tmp_path: Path, run_command: Command
) -> None:
    rows = [
        {"sentence_good": f"The tree {i} sings.", "sentence_bad": f"Tree the {i} sings.",
         "field": "syntax", "UID": "order", "pairID": str(i)}
        for i in range(30)
    ]  # fmt: skip
    path = tmp_path / "blimp.jsonl"
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    suite = copied("pairs") / "results/single"
    call = [str(suite), "task=pairs", f"task.path={path}", "task.start=pretrained"]
    done = run_command(*call, module="bench.finetune", BENCH_CACHE=str(place / "cache"))
    assert done.returncode == 0, done.stderr
    tables = read_tasks(suite)
    assert tables.numbers["metric"].tolist() == ["pair_accuracy"]
    assert len(tables.examples) == 30
