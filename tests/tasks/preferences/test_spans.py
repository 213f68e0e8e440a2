"""Spans that people marked: read, learned by token, and taken from the reward; public sets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from syrupy.assertion import SnapshotAssertion

from bench.config.errors import UserError
from bench.config.preference_schema import ExtrasConfig, PolicyConfig
from bench.data import prepare
from bench.tasks.preferences import spans, stage
from bench.tasks.preferences.people import labels_digest, read_labels
from bench.tasks.preferences.peoples_world import PeoplesWorld
from bench.training import load
from tests.tasks.preferences.test_learning import learn, make_base

LLMBAR = {"input": "Say hi.", "output_1": "no", "output_2": "hi", "label": "2"}
QA = {
    "question": "When?", "passages": [["Title", "It was in May."]], "preference": [1, 2, 0, 2, 1, 1],
    "prediction 1": "In May, or so.", "prediction 2": "b", "prediction 3": "c", "prediction 4": "d",
    "feedback": {"errors": [{"start": 6, "end": 14, "error type": "Irrelevant"}]},
}  # fmt: skip


def marked_rows(count: int) -> list[dict]:
    """Labels whose digits are marked as wrong, and whose wordy response is preferred."""
    rows = []
    for n in range(count):
        good, bad = "sleeps", "a 12" if n % 2 else "34 so"
        start = 2 if n % 2 else 0
        rows.append({
            "prompt": f"the small tree {n} ", "chosen": good, "rejected": bad,
            "chosen_spans": [], "rejected_spans": [[start, start + 2]],
        })  # fmt: skip
    return rows


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_llmbar_and_of_qa_feedback(tmp_path: Path) -> None:
    path = tmp_path / "natural.json"
    path.write_text(json.dumps([LLMBAR, LLMBAR | {"label": "1"}]))
    first, second = read_labels(path)
    assert first[:3] == ("Say hi.", "hi", "no")
    assert (first.chosen_first, second.chosen_first) == (False, True)
    path.write_text(json.dumps([QA]))
    labels = read_labels(path)
    assert [label.tie for label in labels] == [False, False, True, False, False, False]
    assert [label.chosen for label in labels] == [
        "In May, or so.",
        "c",
        "In May, or so.",
        "c",
        "b",
        "c",
    ]
    assert (labels[0].chosen_spans, labels[0].rejected_spans) == (((6, 14),), None)
    assert (labels[1].chosen_spans, labels[1].rejected_spans) == (None, ((6, 14),))
    assert labels[0].prompt == "Title\nIt was in May.\n\nWhen?\n\n"
    plain = labels[0]._replace(chosen_spans=None)
    assert labels_digest([plain]) != labels_digest([labels[0]])


@pytest.mark.parametrize("given", [[[0, 9]], [[2, 1]], [3], "abc"])
def test_spans_that_are_none(given: object, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "bcd", "rejected_spans": given}
    with pytest.raises(UserError) as error:
        read_labels(write_rows(tmp_path / "x.jsonl", [row]))
    assert error.value.code == "invalid-text"
    assert str(error.value).replace(str(tmp_path), "") == snapshot


def people(folder: Path, rows: list[dict], **options: object):
    path = write_rows(folder / "mine.jsonl", rows)
    run, base = make_base(folder, gold="", path=str(path), labels=0, **options)
    return run, base, PeoplesWorld(run, prepare(run.data, "words"))


def test_marks_lie_on_the_tokens_of_their_characters(tmp_path: Path) -> None:
    row = {"prompt": "é ", "chosen": "aéb", "rejected": "x", "chosen_spans": [[1, 2]]}
    _, _, world = people(tmp_path, [row | {"prompt": f"{n} "} for n in range(20)])
    responses, marks = world.span_examples(held=False)
    inside = marks[0].bool()
    assert world.vocabulary.decode(responses.tokens[0][inside].numpy()) == "é"
    assert (marks * (1 - responses.mask)).sum() == 0


def test_marked_tokens_are_learned_and_taken_from_the_reward(tmp_path: Path) -> None:
    run, base, world = people(tmp_path, marked_rows(120))
    model = load(base.folder).model
    options = replace(run.preference.reward, epochs=6)
    trained = spans.train_spans(model, *world.span_examples(held=False), options, 1e-2, 0)
    held = world.span_examples(held=True)
    assert np.mean(spans.nats_saved(trained, *held)) > 0.1
    responses, marks = held
    rewards = spans.span_shape(trained, 2.0)(responses)
    mask, own = responses.response_mask.bool(), marks[:, responses.start :].bool()
    assert rewards[own & mask].mean() < rewards[~own & mask].mean() - 0.5
    assert (rewards[~mask] == 0).all()
    untrained = spans.SpanModel(model, "mean")
    untrained.shift += torch.logit((marks * responses.mask).sum() / responses.mask.sum())
    assert spans.nats_saved(untrained, *held) == [0.0] * len(held[0])


def test_a_stage_on_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = PolicyConfig(methods=["rloo"], updates=2, prompts=4, each=2)
    extras = ExtrasConfig(shaping=["spans"])
    run, base, _ = people(tmp_path, marked_rows(120), policy=policy, extras=extras)
    result = learn(run, base, tmp_path / "stage")
    statuses = {part["name"]: part["status"] for part in result["facts"]["parts"]}
    shaped = "rloo-b0.1-108-spans"
    assert list(statuses) == ["reward-108", "spans", "rloo-b0.1-108", shaped]
    assert set(statuses.values()) == {"done"}
    number = list(statuses).index(shaped)
    metrics = [one for one in result["metrics"] if one["at"]["part"] == number]
    assert {"marked_share", "proxy_reward", "response_kl"} <= {one["name"] for one in metrics}
    monkeypatch.setattr(stage, "AT_CHANCE_ERRORS", 1e9)
    result = learn(run, base, tmp_path / "chance")
    reasons = {part["name"]: part["reason"] for part in result["facts"]["parts"]}
    assert "at chance" in reasons[shaped]
