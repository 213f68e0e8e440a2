"""The command: what it composes, what it refuses before any work, and a run from text to record."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import data, finetune
from bench.cli import compose
from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.execution import finetune as finetuning
from bench.execution import train_sweep, worker
from bench.records import store
from bench.tasks.finetuning import load_task, prepare_examples
from tests import fake_records
from tests.conftest import Command, assert_one_error, tiny_overrides, write_words
from tests.tasks.test_examples import write_reviews


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Return a suite of two finished runs, one of them with two seeds."""
    root = tmp_path / "results" / "made"
    for arch, seed in (("lstm", 0), ("lstm", 1), ("encoder", 0)):
        fake_records.write_run(root, arch, seed, learning_rate=1e-3)
    return root


def test_every_finished_run_is_fine_tuned_from_its_weights_and_from_scratch(suite: Path) -> None:
    arguments = finetune.sweep_arguments([str(suite), "task=order", "task.examples=100,0"])
    sweep = compose.compose_sweep(arguments)
    runs = {(r.names["arch"], r.seed, r.task.start, r.task.examples) for r in sweep.runs}
    bases = {("lstm", 0), ("lstm", 1), ("encoder", 0)}
    starts, sizes = ("pretrained", "scratch"), (0, 100)
    assert runs == {(*base, start, size) for base in bases for start in starts for size in sizes}
    assert {Path(r.results) / r.suite for r in sweep.runs} == {suite}
    assert {store.attempt_folders(r)[0].parent for r in sweep.runs} == {suite / "tasks"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["task=order"], "invalid-command"),
        (["{suite}"], "invalid-command"),
        (["{suite}", "task=ordre"], "unknown-choice"),
        (["{suite}", "task=order", "task.label=x"], "unknown-key"),
        (["{suite}", "task=order", "seed=3"], "conflicting-values"),
        (["{suite}", "task=order", "task.kind=pairz"], "unknown-choice"),
        (["{suite}", "task=order", "task.steps=0"], "invalid-value"),
        (["{suite}/nowhere", "task=order"], "no-records"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], code: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(suite=suite) for argument in arguments]
    assert finetune.main(given) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert error.endswith(f"[{code}]")
    assert "\n" not in error


def test_a_run_that_a_task_starts_from_is_trained_first_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "arch=rnn,gpt task=order,facts task.start=pretrained,scratch -m"
    sweep = compose.compose_sweep(words.split())
    bases = train_sweep.missing_bases(sweep)
    assert len(sweep.jobs) == 8
    assert len(bases.jobs) == 2
    assert {r.task.kind for r in bases.runs} == {"none"}
    assert not any("task" in word for job in bases.jobs for word in job.overrides)


@pytest.mark.parametrize(("trained_on", "count"), [("these data", 0), ("other data", 1)])
def test_a_base_of_other_data_is_trained_first_too(
    trained_on: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_sweep, "current_data_digest", lambda run: "these data")
    monkeypatch.setattr(
        train_sweep,
        "finished_run",
        lambda run, digest="": run if digest in ("", trained_on) else None,
    )
    sweep = compose.compose_sweep(["arch=rnn", "task=order"])
    assert len(train_sweep.missing_bases(sweep).jobs) == count


def test_a_self_pre_trained_base_reads_the_training_texts_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reviews = write_reviews(tmp_path / "reviews.csv")
    words = f"arch=cnn,rnn task=labels task.path={reviews} task.start=self,pretrained -m"
    jobs = train_sweep.missing_bases(compose.compose_sweep(words.split())).jobs
    own = [job for job in jobs if job.run.data.source == "examples"]
    assert (len(jobs), len(own)) == (4, 2)
    assert len({job.overrides for job in jobs}) == 4  # by which a launcher finds a run
    run = own[0].run
    assert {store.attempt_folders(job.run)[0].parent.name for job in own} == {"task_bases"}
    corpus = data.prepare(run.data, run.names["data"])
    task = prepare_examples(TaskConfig(kind="classification", path=str(reviews)), "labels")
    for name, part in task.parts.items():
        read = corpus.vocabulary.decode(corpus.parts[name].tokens)
        assert all(one.text in read for one in part)
        assert sum(len(one.text) for one in part) == len(read)


# --- from text to record --------------------------------------------------------------------------

Pretrained = tuple[Path, Path]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """Return the folder of a small finished run, and a file of reviews."""
    place = tmp_path_factory.mktemp("finetune")
    text, reviews = write_words(place / "words.txt", 20_000), write_reviews(place / "reviews.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("BENCH_CACHE", str(place / "cache"))
        made = compose.compose_sweep(["arch=cnn", *tiny_overrides(text)]).runs[0]
        folder = place / store.attempt_folders(made)[0]
        store.create_record(folder, made, {}, {})
        worker.train_and_score(made, folder)
    return folder, reviews


@pytest.fixture
def fine_tuned(pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that fine-tunes in this process and returns the record."""
    monkeypatch.setenv("BENCH_CACHE", str(pretrained[0].parents[3] / "cache"))

    def fine_tune(folder: Path, *overrides: str) -> Path:
        base, reviews = pretrained
        words = [f"base={base}", "task=labels", f"task.path={reviews}", "task.batch=8"]
        made = compose.compose_sweep([*words, "task.steps=30", *overrides]).runs[0]
        bases = {"base": {"run": base.name, "folder": str(base), "weights": "w"}}
        store.create_record(folder, made, {}, {"bases": bases})
        finetuning.finetune_and_score(made, folder)
        return folder

    return fine_tune


def values(folder: Path) -> dict[str, float]:
    metrics = store.read_result(folder)["metrics"]
    return {one["name"]: one["values"][0] for one in metrics if one["values"]}


@pytest.mark.slow
def test_the_command_fine_tunes_a_users_file(pretrained: Pretrained, run_command: Command) -> None:
    base, reviews = pretrained
    cache = str(base.parents[3] / "cache")
    words = [str(base), "task=labels", f"task.path={reviews}", "task.steps=20", "task.batch=8"]
    done = run_command(*words, module="bench.finetune", BENCH_CACHE=cache)
    assert done.returncode == 0, done.stderr
    folders = sorted((base.parents[1] / "tasks").glob("cnn-*"))
    assert [store.run_status(folder) for folder in folders] == ["done", "done"]
    again = run_command(*words, module="bench.finetune", BENCH_CACHE=cache)
    assert again.stderr.count("done before, not run again") == 2
    missing = run_command(*words, "task.target=stars", module="bench.finetune", BENCH_CACHE=cache)
    assert_one_error(missing, 2, "has no column stars (it has text, label)")


def test_a_fine_tuning_is_recorded_and_predicts(
    fine_tuned: Callable[..., Path], tmp_path: Path
) -> None:
    folder = fine_tuned(tmp_path / "record", "task.learning_rate=6e-3", "task.steps=100")
    scores, examples = values(folder), pd.read_parquet(folder / "examples.parquet")
    assert scores["label_accuracy"] == examples["hit"].mean() > 0.9
    assert scores["label_nats"] == pytest.approx(examples["nats"].mean())
    assert scores["pretraining_flops"] > 0
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {"data", "order", "examples", "source"} <= provenance["digests"].keys()
    model = load_task(folder)
    assert model.predict(["film 7 was good", "film 7 was bad"]) == ["good", "bad"]


def test_both_arms_see_the_same_batches(fine_tuned: Callable[..., Path], tmp_path: Path) -> None:
    orders = [
        json.loads(
            (fine_tuned(tmp_path / start, f"task.start={start}") / "provenance.json").read_text()
        )
        for start in ("pretrained", "scratch")
    ]
    assert orders[0]["digests"]["order"] == orders[1]["digests"]["order"]
    assert "pretraining_flops" not in values(tmp_path / "scratch")


def test_what_was_interrupted_ends_as_if_it_had_not_been(
    fine_tuned: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fine_tuned(tmp_path / "undisturbed", "task.steps=12")
    saved = finetuning.save_task

    def interrupt(folder: Path, setup: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "save_task", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned(tmp_path / "resumed", "task.steps=12")
    monkeypatch.setattr(finetuning, "save_task", saved)
    resumed = fine_tuned(tmp_path / "resumed", "task.steps=12")
    assert len(store.read_json(resumed / "provenance.json")["starts"]) == 2
    first, second = (pd.read_parquet(f / "examples.parquet") for f in (undisturbed, resumed))
    np.testing.assert_array_equal(first["nats"], second["nats"])


@pytest.mark.slow
def test_weights_of_another_base_are_not_resumed(
    fine_tuned: Callable[..., Path], pretrained: Pretrained, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = fine_tuned(tmp_path / "record", "task.steps=4")
    provenance = store.read_json(folder / "provenance.json")
    setup = finetuning.setup_task  # the origin alone is of interest
    made = compose.compose_sweep(
        [f"base={pretrained[0]}", "task=labels", f"task.path={pretrained[1]}"]
    ).runs[0]
    task = setup(made, *finetuning.starting_model(made, folder))
    before = finetuning.record_origin(made, folder, task)
    provenance["bases"]["base"]["weights"] = "other"
    store.write_json(folder / "provenance.json", provenance)
    after = finetuning.record_origin(made, folder, task)
    assert {key for key in before if before[key] != after[key]} == {"base"}


def test_a_base_that_is_not_finished_is_a_line(suite: Path) -> None:
    with pytest.raises(UserError) as raised:
        compose.compose_sweep([f"base={suite}/runs/nothing", "task=order"])
    assert raised.value.code == "no-records"


@pytest.mark.parametrize(
    "words",
    ["task=facts task.frozen=true", "task=order data=markov", "task=order preference=quick"],
)
def test_what_excludes_each_other_is_a_line(words: str) -> None:
    with pytest.raises(UserError) as raised:
        compose.compose_sweep(["arch=rnn", *words.split()])
    assert raised.value.code == "conflicting-values"
