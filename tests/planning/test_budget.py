"""Equal budgets: widths by what is counted, lengths from FLOPs or seconds, what was not equal."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from architectures.interface import Unsupported
from bench import model, reporting
from bench.analysis.fairness import differing_places
from bench.config.errors import UserError
from bench.config.identity import identity, weights_key, workload_id
from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.config.validation import validate_run
from bench.planning import budget as plans
from bench.records import store
from tests import fake_records
from tests.conftest import Command, assert_one_error

RNN = {
    "_target_": "architectures.rnn.RNN",
    "cell": "lstm",
    "layers": 2,
    "tune": {"learning_rate": 0.006},
}
GPT = {
    "_target_": "architectures.gpt.GPT",
    "layers": 2,
    "heads": 4,
    "tune": {"learning_rate": 0.003},
}
BIGRAM = {"_target_": "architectures.bigram.Bigram", "tune": {"learning_rate": 0.003}}
BERT = {
    "_target_": "architectures.bert.Bert",
    "layers": 1,
    "heads": 2,
    "tune": {"learning_rate": 0.001},
}


# --- width ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "numbers"), [(RNN, 2 * 2), (GPT, 2 * 2 * 64)], ids=["rnn", "gpt"])
def test_the_width_by_state_is_the_largest_under_the_budget(
    arch: dict[str, Any], numbers: int
) -> None:
    """Per channel `numbers`: two vectors a layer of an LSTM; keys and values of 64 tokens."""
    budget = 9_000
    width = model.width_for_size(
        arch, SizeConfig(context=64, match="state", state_bytes=budget), 67
    )
    accepted = [
        w
        for w in range(1, 4 * width + 1)
        if model.is_offered_width(w) and (arch is RNN or w % 4 == 0)
    ]
    assert width == max(w for w in accepted if 4 * numbers * w <= budget)
    assert (
        model.state_bytes(model.build_model(arch, width, 64, 67, seed=0), 64) == 4 * numbers * width
    )


@pytest.mark.parametrize("counted", ["without_embedding", "in_products"])
def test_the_width_by_another_count_is_the_largest_under_the_budget(counted: str) -> None:
    def size(width: int) -> int:
        return model.count_parameters(model.build_on_meta(RNN, width, 32, 67))[
            f"parameters_{counted}"
        ]

    width = model.width_for_size(RNN, SizeConfig(parameters=40_000, context=32, count=counted), 67)
    following = next(w for w in range(width + 1, 2 * width) if model.is_offered_width(w))
    assert size(width) <= 40_000 < size(following)


def test_what_keeps_no_state_says_so() -> None:
    asked = SizeConfig(context=64, match="state", state_bytes=50_000)
    with pytest.raises(Unsupported, match="encoder"):
        model.width_for_size(BERT, asked, 67)
    with pytest.raises(Unsupported, match="keeps no state"):
        model.width_for_size(BIGRAM, asked, 67)


def test_budgets_of_state_that_no_machine_or_no_width_meets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(model.ModelBuildError, match=r"size\.state_bytes=3 is too small"):
        model.width_for_size(RNN, SizeConfig(context=64, match="state", state_bytes=3), 67)
    monkeypatch.setattr("bench.system.host.total_memory_bytes", lambda: 1_000_000)
    with pytest.raises(model.ModelBuildError, match="more than this machine can train"):
        model.width_for_size(RNN, SizeConfig(context=64, match="state", state_bytes=50_000), 67)


# --- length ---------------------------------------------------------------------------------------


def asked(tmp_path: Path, arch: dict[str, Any] = RNN, **train: Any) -> Run:
    made = Run(
        arch=dict(arch), names={"arch": arch["_target_"].rpartition(".")[2], "data": "python_docs"}
    )
    made = dataclasses.replace(
        made, size=SizeConfig(parameters=30_000, context=32), train=TrainConfig(batch=4, **train)
    )
    return dataclasses.replace(made, results=str(tmp_path), suite="suite")


@pytest.fixture
def bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text is read to know how many bytes there are."""
    corpus = type("Corpus", (), {"vocabulary": type("Vocabulary", (), {"size": 257})})
    monkeypatch.setattr("bench.data.prepare", lambda options, name: corpus)


@pytest.mark.usefixtures("bytes_alone")
@pytest.mark.parametrize("arch", [RNN, GPT, BERT], ids=["rnn", "gpt", "bert"])
def test_planned_flops_are_within_one_step_below_the_budget(
    tmp_path: Path, arch: dict[str, Any]
) -> None:
    budget = 3e9
    (run,) = plans.plan_runs([asked(tmp_path, arch, match="flops", budget=budget)])
    width = model.width_for_size(arch, run.size, 257)
    step = 3 * model.build_model(arch, width, 32, 257, seed=0).flops(32) * 4 * 32
    assert budget - step < run.train.steps * step <= budget
    assert run.train.planned == run.train.steps


@pytest.mark.usefixtures("bytes_alone")
def test_a_plan_is_stored_and_read_again(tmp_path: Path) -> None:
    first = asked(tmp_path, match="flops", budget=3e9)
    assert plans.apply_plan(first) == first
    (dry,) = plans.plan_runs([first], keep=False)
    assert not plans.plan_path(first).exists()
    (made,) = plans.plan_runs([first])
    assert dry == made == plans.apply_plan(first)
    content = store.read_json(plans.plan_path(first))
    # whatever a step would cost today
    store.write_json(plans.plan_path(first), content | {"steps": 7})
    others = [
        first,
        dataclasses.replace(first, seed=5),
        asked(tmp_path, match="flops", budget=3e9, learning_rate=0.5),
    ]
    assert [run.train.steps for run in plans.plan_runs(others)] == [7, 7, 7]
    assert identity(plans.apply_plan(first)) == identity(
        asked(tmp_path, steps=7)
    )  # however it was planned
    with pytest.raises(UserError, match="holds no plan"):
        plans.require_plan(first)
    store.write_json(plans.plan_path(first), content | {"steps": 7, "vocabulary": 300})
    assert plans.plan_runs([first]) == [made]  # the tokenizer's file has changed since
    plans.require_plan(made)


@pytest.mark.usefixtures("bytes_alone")
def test_seconds_are_planned_from_the_last_whole_rate_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = asked(tmp_path, match="seconds", budget=10.0)
    with pytest.raises(UserError, match=r"no training rate of arch=RNN.*python -m bench\.measure"):
        plans.plan_runs([run])
    rates = {"early": 900.0, "late": 1000.0, "later": 1200.0}
    root = tmp_path / "suite"
    for sitting, rate in rates.items():
        for machine, factor in (("here", 1), ("there", 9)):
            folder = root / "measure" / f"{machine}-{sitting}" / "rnn-x"
            folder.mkdir(parents=True)
            about = {
                "machine": machine,
                "subject": workload_id(run),
                "arch": "rnn",
                "surroundings": {"stopped": sitting == "later"},
            }
            (folder / "subject.json").write_text(json.dumps(about))
            rows = [
                {"at": {}, "values": [0.5 * rate * factor, rate * factor, 1.5 * rate * factor]},
                {"at": {"length": 8}, "values": [9e9]},
            ]
            metrics = [
                {
                    "name": "train_tokens_per_second",
                    "unit": "tokens/s",
                    "better": "higher",
                    "note": "",
                    **row,
                }
                for row in rows
            ]
            (folder / "result.json").write_text(
                json.dumps({"schema": 1, "status": "done", "reason": "", "metrics": metrics})
            )
    monkeypatch.setattr(plans.host, "machine_digest", lambda: "here")
    (made,) = plans.plan_runs([run])
    assert made.train.steps == 10 * 1000 // (4 * 32)
    assert json.loads(plans.plan_path(run).read_text())["sitting"] == "here-late"


@pytest.mark.usefixtures("bytes_alone")
@pytest.mark.parametrize(("budget", "said"), [(10.0, "0 steps"), (1e29, "give less")])
def test_a_budget_that_no_number_of_steps_meets(tmp_path: Path, budget: float, said: str) -> None:
    with pytest.raises(UserError, match=said):
        plans.plan_runs([asked(tmp_path, match="flops", budget=budget)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"train": TrainConfig(match="flops")}, r"train\.budget=0"),
        ({"train": TrainConfig(budget=5.0)}, r"train\.match=tokens"),
        ({"size": SizeConfig(match="state")}, r"size\.state_bytes=0"),
        ({"size": SizeConfig(state_bytes=5)}, r"size\.match=parameters"),
        (
            {"size": SizeConfig(match="state", state_bytes=5, count="in_products")},
            r"size\.count=in_products",
        ),
    ],
)
def test_half_a_budget_is_a_mistake(words: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        validate_run(Run(arch=dict(RNN), names={"arch": "rnn"}, **words))


def test_keys_that_came_later_leave_older_records_their_names() -> None:
    run = Run(arch=dict(RNN), names={"arch": "rnn", "data": "text"})
    key = weights_key(run)
    assert not {"count", "state_bytes"} & set(key["size"])
    assert "searching" not in key["data"]
    assert key["train"]["match"] == "tokens"
    assert identity(dataclasses.replace(run, size=SizeConfig(count="in_products"))) != identity(run)


@pytest.mark.slow
def test_the_same_command_twice_trains_what_was_planned(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    words = [
        "arch=bigram",
        "train.match=flops",
        "train.budget=2e8",
        *(word for word in tiny if "train.steps" not in word),
    ]
    assert run_command(*words).returncode == 0
    (plan,) = tmp_path.glob("results/single/plans/*.json")
    (curve,) = tmp_path.glob("results/single/runs/*/curve.jsonl")
    steps = json.loads(plan.read_text())["steps"]
    assert json.loads(curve.read_text().splitlines()[-1])["step"] == steps
    again = run_command(*words)
    assert "done before, not run again" in again.stderr
    assert_one_error(run_command(*words, "train.budget=1"), 2, "[invalid-value]")


# --- the sheet ------------------------------------------------------------------------------------


def test_only_what_was_not_the_question_is_marked() -> None:
    assert differing_places("aabb", [1, 2, 1, 2]) == set()  # all have both: it was the question
    assert differing_places("abc", ["causal", "causal", "masked"]) == {2}
    assert differing_places("aab", [1, 2, 1]) == {1}
    assert differing_places("ab", [1, 2]) == {0, 1}
    assert differing_places("ab", [float("nan"), float("nan")]) == set()
    assert differing_places("", []) == set()


def test_the_sheet_is_in_the_report(tmp_path: Path) -> None:
    root = fake_records.write(tmp_path / "suite", seeds=1, machines=1)
    page = reporting.make_report(root)[0].read_text()
    assert "Matched: the size, 800,000 parameters at most; the length, tokens." in page
    sheet = page[page.index('<section id="fairness">') : page.index('<section id="texts">')]
    assert (
        sheet.count('class="bad"') == 4
    )  # of the encoder: what had a loss, objective, protocol; of one: unused parameters
    for words in (
        "objective: masked: encoder",
        "tokens with loss: 516 k: encoder",
        "more than 3 % unused by pairs",
        "by hand",
    ):
        assert words in sheet
