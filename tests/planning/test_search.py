"""The search for a learning rate: what a trial takes and sees, and when a result is too weak."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench import planning, reporting
from bench.cli import compose
from bench.config.errors import UserError
from bench.config.schema import DataConfig, Run, TrainConfig
from bench.config.schema import TuneConfig as Options
from bench.config.validation import validate_run
from bench.data import prepare
from bench.execution.train_sweep import trial_sweep
from bench.planning import search, search_space
from bench.planning.planned import plan
from bench.records.search_scores import mean_scores, uniform_score
from bench.stats import expected_best
from tests import fake_records
from tests.conftest import Command, assert_one_error

ARCH = {
    "_target_": "module.Class",
    "layers": 2,
    "dropout": 0.0,
    "tune": {"space": {"learning_rate": [1e-3, 1e-1]}},
}


def asked(axes: dict[str, Any] | None = None, **changes: Any) -> Run:
    arch = {**ARCH, "tune": {"space": axes}} if axes is not None else dict(ARCH)
    made = Run(
        arch=arch, names={"arch": "mine", "data": "text", "size": "tiny"}, tune=Options(trials=4)
    )
    return dataclasses.replace(made, **changes)


# --- what is drawn --------------------------------------------------------------------------------


def test_rates_are_drawn_evenly_in_their_logarithm_and_alike_each_time() -> None:
    rates = [values["learning_rate"] for values in search_space.draw_trials(asked(), 400)]
    assert rates[:3] == [
        values["learning_rate"] for values in search_space.draw_trials(asked(), 3)
    ]  # more trials change no earlier one
    shares = np.log10(np.array(rates) / 1e-3) / 2
    assert 0 <= shares.min() < shares.max() <= 1
    assert np.abs(np.sort(shares) - np.linspace(0, 1, 400)).max() < 1.63 / math.sqrt(
        400
    )  # Kolmogorov, 1 %
    assert search_space.draw_trials(
        asked(tune=Options(trials=4, seed=7)), 3
    ) != search_space.draw_trials(asked(), 3)


def test_other_axes_are_searched_too() -> None:
    axes = {
        "learning_rate": {"adamw": [1e-3, 2e-3]},
        "dropout": [0.0, 0.5],
        "layers": {"choices": [1, 3]},
        "optimizer.beta2": [0.9, 0.99],
    }
    trials = [
        search_space.trial_run(asked(axes, tune=Options(trials=9, trial=n))) for n in range(9)
    ]
    assert {run.arch["layers"] for run in trials} == {1, 3}
    assert all(
        0 <= run.arch["dropout"] <= 0.5 and 0.9 <= run.optimizer.beta2 <= 0.99 for run in trials
    )
    assert len({run.train.learning_rate for run in trials}) == 9


@pytest.mark.parametrize(
    ("axes", "code"),
    [
        ({}, "no-learning-rate"),
        ({"learning_rate": [2e-3, 1e-3]}, "invalid-value"),
        ({"learning_rate": [0.0, 1e-3]}, "invalid-value"),
        (
            {"learning_rate": [1e-3, 2e-3], "layerz": [1, 2]},
            "unknown-key",
        ),
        ({"learning_rate": [1e-3, 2e-3], "layers": {"choices": []}}, "invalid-value"),
    ],
)
def test_a_space_that_cannot_be_searched(axes: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError, match="arch=mine") as error:
        search_space.axes(asked(axes))
    assert error.value.code == code


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"train": TrainConfig(learning_rate=0.1)},
            r"train\.learning_rate=0\.1 .*tune\.trials=4",
        ),
        ({"seed": 1000}, "seed=1000"),
        (
            {"train": TrainConfig(match="flops", budget=1e9), "tune": Options(trials=4, steps=5)},
            r"tune\.steps=5",
        ),
    ],
)
def test_a_search_that_can_not_mean_what_it_says(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        validate_run(asked(**changes))


# --- what a trial sees ----------------------------------------------------------------------------


def test_a_trial_never_sees_what_runs_are_scored_on(text: Path, tmp_path: Path) -> None:
    whole = prepare(DataConfig(path=str(text)), "text")  # split=tail: no test part
    cut = prepare(DataConfig(path=str(text), searching=True), "text")
    train, held = cut.parts["train"], cut.parts["validation"]
    every = whole.parts["train"]
    assert cut.digest != whole.digest
    assert np.array_equal(
        np.concatenate([train.tokens, held.tokens[1:]]), every.tokens
    )  # what comes first is seen, no target
    assert np.array_equal(
        held.tokens[held.starts[0] :], every.tokens[every.starts[len(train.starts)] :]
    )
    assert held.sizes.sum() + train.sizes.sum() == every.sizes.sum()
    assert 0.04 < held.sizes.sum() / every.sizes.sum() < 0.14  # a tenth, in blocks of 4,096 bytes
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.txt").write_text(
            f"document {number} says {number * 7}, and little else " * 3
        )
    apart = prepare(DataConfig(path=str(folder), searching=True), "many")
    assert set(apart.parts) == {"train", "validation"}
    assert apart.scored == "validation"


def test_a_trial_is_a_run_of_its_own(tmp_path: Path) -> None:
    run = asked(
        seed=3, suite="mine", results=str(tmp_path), tune=Options(trials=4, trial=2, steps=50)
    )
    made = planning.trial_run(run)
    assert (made.seed, made.suite, made.results) == (1000, "tune", str(tmp_path / "mine"))
    assert (made.train.steps, made.data.searching, made.measure.depth) == (50, True, "off")


# --- what is found --------------------------------------------------------------------------------


def rows(scores: list[float | None], rates: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "trial": n,
            "status": "diverged" if s is None else "done",
            "score": s,
            "values": {"learning_rate": r},
            "metric": "bits_per_byte",
        }
        for n, (s, r) in enumerate(zip(scores, rates, strict=True))
    ]


@pytest.mark.parametrize(
    ("scores", "edge"),
    [
        ([3.0, 2.0, 2.5], ""),
        ([2.0, 2.2, 2.5], "low"),
        ([3.0, 2.2, 2.1], "high"),
        ([3.0, 2.2, None], ""),  # one that diverged bounds it too
        ([2.0, None, None], "low"),
        ([None, None, None], ""),
    ],
)
def test_the_best_at_the_end_of_what_was_tried_is_an_edge(
    scores: list[float | None], edge: str
) -> None:
    assert search.range_edge(rows(scores, [0.001, 0.01, 0.1])) == edge


def test_finalists_are_chosen_by_the_mean_over_their_seeds() -> None:
    trials = rows([2.0, 2.1, 2.2, 2.05], [0.04, 0.01, 0.001, 0.02])
    assert search.best_trial(trials) is trials[0]
    trials[0]["repeats"] = rows([2.4], [0.04])
    trials[1]["repeats"] = rows([2.2], [0.01])
    assert mean_scores(trials) == [pytest.approx(2.2), pytest.approx(2.15), math.inf, math.inf]
    assert search.best_trial(trials) is trials[1]
    assert search.range_edge(trials) == ""
    trials[1]["repeats"] = rows([None], [0.01])  # diverged with the second seed
    assert search.best_trial(trials) is trials[0]
    assert search.range_edge(trials) == "high"


def test_a_rate_that_teaches_nothing_is_no_result(tmp_path: Path) -> None:
    run = asked(suite="mine", results=str(tmp_path), tune=Options(trials=2))
    path = search.search_path(run)
    path.parent.mkdir(parents=True)
    trials = [row | {"uniform": 8.0} for row in rows([8.2, 8.0], [0.001, 0.01])]
    path.write_text(json.dumps({"trials": trials}))
    (conclusion,) = planning.conclude_searches([run])
    assert not conclusion.has_result
    assert planning.apply_search(run) == run
    with pytest.raises(UserError) as error:
        planning.require_search(run)
    assert error.value.code == "incomplete-search"
    trials[0]["score"] = 7.9
    path.write_text(json.dumps({"trials": trials}))
    assert planning.conclude_searches([run])[0].has_result
    assert planning.apply_search(run).train.learning_rate == 0.001


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("bits_per_byte", 4.0),  # log2(256) bits for two bytes
        ("nats_per_token", math.log(256)),
        ("pseudo_perplexity", 256.0),
        ("regret", math.log(256) - 1.5),
        ("accuracy", None),
    ],
)
def test_the_score_of_equal_probabilities(metric: str, expected: float | None) -> None:
    facts = {"data": {"vocabulary": 256, "bytes_per_token": {"validation": 2.0}}}
    score = uniform_score(metric, {"oracle_nats_per_token": 1.5}, facts)
    assert score == (None if expected is None else pytest.approx(expected))
    assert uniform_score(metric, {}, {}) is None


def test_a_search_of_another_text_is_open_again(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("one text and its words " * 2000)
    options = DataConfig(path=str(text), cache=str(tmp_path / "cache"))
    run = asked(suite="mine", results=str(tmp_path), data=options)
    digest = prepare(dataclasses.replace(options, searching=True), "text").digest
    path = search.search_path(run)
    path.parent.mkdir(parents=True)
    trials = rows([3.0, 2.5, 2.4, 2.0], [0.001, 0.002, 0.04, 0.05])
    path.write_text(json.dumps({"trials": trials, "data_digest": digest}))
    assert plan([run])[0].train.learning_rate == 0.05
    text.write_text("another text and its words " * 2000)
    assert planning.has_open_searches([run])
    assert plan([run]) == [run]


def test_a_second_run_of_a_trial_has_its_values_and_the_next_seed(tmp_path: Path) -> None:
    run = asked(suite="mine", results=str(tmp_path), tune=Options(trials=4, finalists=2))
    first, second = (planning.trial_run(search.numbered_trial(run, 3, repeat)) for repeat in (0, 1))
    assert (first.seed, second.seed) == (1000, 1001)
    assert first.train.learning_rate == second.train.learning_rate
    assert search.finalists(run) == []  # not before all trials are scored


def test_a_run_takes_what_its_search_found(tmp_path: Path) -> None:
    run = asked(suite="mine", results=str(tmp_path))
    assert planning.has_open_searches([run])
    assert planning.apply_search(run) == run
    with pytest.raises(UserError, match="found no learning rate"):
        planning.require_search(run)
    path = search.search_path(run)
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"trials": rows([3.0, 2.5, 2.4, 2.0, 1.0], [0.001, 0.002, 0.04, 0.05, 0.01])})
    )
    taken = planning.apply_search(run)
    assert (taken.train.learning_rate, taken.tune.edge) == (
        0.05,
        "high",
    )  # of the four that were asked for
    assert not planning.has_open_searches([run])
    planning.require_search(taken)
    assert search.search_path(dataclasses.replace(run, seed=8)) == path
    assert search.search_path(dataclasses.replace(run, train=TrainConfig(steps=9))) != path
    assert planning.has_open_searches([dataclasses.replace(run, tune=Options(trials=6))])


@pytest.mark.parametrize("count", [1, 4, 6])
def test_expected_best_is_the_mean_over_all_subsets(count: int) -> None:
    values = list(np.random.default_rng(count).normal(size=count))
    for n, came in enumerate(expected_best(values), 1):
        assert came == pytest.approx(
            np.mean([min(subset) for subset in itertools.combinations(values, n)]), abs=1e-12
        )


def test_expected_best_with_a_diverged_trial_is_known_once_it_can_not_be_the_best() -> None:
    assert expected_best([math.inf, 2.0, 1.0]) == [math.inf, pytest.approx(4 / 3), 1.0]


# --- the report -----------------------------------------------------------------------------------


def test_the_report_marks_who_is_not_tuned(tmp_path: Path) -> None:
    root = tmp_path / "suite"
    for arch, edge in (("lstm", "high"), ("gru", "")):
        folder = fake_records.write_run(root, arch, 0)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(
            yaml.safe_dump(config | {"tune": {"trials": 3, "edge": edge}})
        )
        fake_records.seal(folder)
        made = rows([3.0, 2.2, 2.1 if edge else None], [0.001, 0.01, 0.1])
        about = {
            "arch": arch,
            "family": "recurrent",
            "data": "text",
            "steps": 9,
            "batch": 8,
            "context": 32,
            "metric": "bits_per_byte",
        }
        path = root / "tune" / "searches" / f"{arch}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                about
                | {"part": "validation", "space": {"learning_rate": [0.001, 0.1]}, "trials": made}
            )
        )
    page = reporting.make_report(root)[0].read_text()
    assert page.count("UNTUNED</span>") == 2  # in the table of scores and that of the search
    tuning = page[page.index('<section id="fairness">') :]
    assert "the highest rate tried" in tuning
    assert "1 diverged" in tuning
    assert 'data-chart="searches"' in tuning
    assert reporting.find_suites(root) == [root]


# --- the command ----------------------------------------------------------------------------------


def test_the_trials_of_a_sweep() -> None:
    words = ["-m", "arch=rnn,gpt", "seed=0,1", "tune.trials=2"]
    trials = trial_sweep(compose.compose_sweep(words))
    assert trials.jobs[1].overrides == (
        "arch=rnn", "tune.trials=2", "seed=1000", "tune.trial=1", "control.arch=",
    )  # fmt: skip
    runs = plan(trials.runs)
    assert [(run.names["arch"], run.tune.trial, run.suite) for run in runs] == [
        ("rnn", 0, "tune"), ("rnn", 1, "tune"), ("gpt", 0, "tune"), ("gpt", 1, "tune"),
    ]  # fmt: skip
    again = compose.compose_sweep(trials.jobs[1].overrides)  # as its rerun command
    assert plan(again.runs) == [runs[1]]


def test_a_search_of_nothing_is_one_line(run_command: Command, tiny: list[str]) -> None:
    assert_one_error(run_command("arch=bigram", *tiny, module="bench.tune"), 2, "tune.trials=0")


@pytest.mark.slow
def test_a_sweep_searches_equally_often_then_runs_on_fresh_seeds(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = ["arch=bigram,gpt", "-m", "tune.trials=3", "tune.finalists=2", "tune.steps=4", *tiny]
    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "results" / "single"
    found = {
        path.name.partition("-")[0]: json.loads(path.read_text())
        for path in root.glob("tune/searches/*.json")
    }
    assert {arch: [t["status"] for t in one["trials"]] for arch, one in found.items()} == {
        a: ["done"] * 3 for a in ("bigram", "gpt")
    }
    assert len(list(root.glob("tune/runs/*/result.json"))) == 2 * (3 + 2)
    configs = [yaml.safe_load(path.read_text()) for path in root.glob("runs/*/config.yaml")]
    assert len(configs) == 2
    for config in configs:
        trials = found[config["names"]["arch"]]["trials"]
        repeated = [trial for trial in trials if "repeats" in trial]
        assert sorted(trials, key=lambda trial: trial["score"])[:2] == sorted(
            repeated, key=lambda trial: trial["score"]
        )
        best = min(repeated, key=lambda trial: trial["score"] + trial["repeats"][0]["score"])
        assert config["train"]["learning_rate"] == best["values"]["learning_rate"]
        assert (config["seed"], config["train"]["steps"], config["data"]["searching"]) == (
            0,
            8,
            False,
        )
    again = run_command(*words)
    assert again.stderr.count("done before, not run again") == 2  # no trial is looked at again
    assert again.returncode == 0
