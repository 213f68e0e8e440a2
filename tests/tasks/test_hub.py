"""Tasks of public sets: columns as the hub has them, read from files and from a local set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli import compose
from bench.config.errors import UserError
from bench.config.task_schema import TaskConfig
from bench.execution import preflight
from bench.tasks.finetuning.examples import prepare_examples
from tests.conftest import ROOT

TASKS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf/task").glob("*.yaml")
}
HUB = sorted(name for name, task in TASKS.items() if task.get("source") == "hub")
Row = dict[str, Any]


def one_sentence(i: int) -> Row:
    return {"idx": i, "sentence": f"film {i}", "label": i % 2}


def two_texts(first: str, second: str) -> Callable[[int], Row]:
    return lambda i: {first: f"one {i}", second: f"other {i}", "label": i % 2, "idx": i}


def question(i: int) -> Row:
    answers = {"text": [f"answer {i}", "another"], "answer_start": [4, 9]}
    about = {"id": str(i), "title": "a title", "context": f"passage {i // 4} of some length"}
    return about | {"question": f"what is {i}?", "answers": answers}


COLUMNS: dict[str, Callable[[int], Row]] = {
    "sst2": one_sentence,
    "cola": one_sentence,
    **dict.fromkeys(("mrpc", "rte", "wnli"), two_texts("sentence1", "sentence2")),
    "qqp": two_texts("question1", "question2"),
    "mnli": two_texts("premise", "hypothesis"),
    "qnli": two_texts("question", "sentence"),
    "trec": lambda i: {"text": f"what is {i}?", "coarse_label": i % 6, "fine_label": i % 50},
    "boolq": lambda i: {"question": f"is it {i}", "answer": i % 2 == 0, "passage": f"it is {i}"},
    "multi30k": lambda i: {"en": f"a man {i}", "de": f"ein Mann {i}"},
    "squad": question,
    "xquad": question,
    "scitldr": lambda i: {
        "source": [f"We do {i}.", "It works."], "source_labels": [0, 1], "rouge_scores": [0.1, 0.5],
        "paper_id": str(i), "target": [f"Doing {i} works.", "It does."],
    },
}  # fmt: skip


def write_rows(path: Path, row: Callable[[int], Row], count: int) -> str:
    path.write_text("".join(json.dumps(row(i)) + "\n" for i in range(count)))
    return str(path)


@pytest.mark.parametrize("name", HUB)
def test_a_task_reads_the_columns_of_its_set(name: str, tmp_path: Path) -> None:
    row = COLUMNS[name]
    path = write_rows(tmp_path / "rows.jsonl", row, 300)
    task = prepare_examples(TaskConfig(**{**TASKS[name], "path": path}), name)
    examples = [example for part in task.parts.values() for example in part]
    assert len(examples) == 300
    texts, targets = {one.text for one in examples}, {one.target for one in examples}
    expected = {
        "squad": ("what is 7?\tpassage 1 of some length", "answer 7"),
        "scitldr": ("We do 7. It works.", "Doing 7 works."),
        "boolq": ("is it 7\tit is 7", "False"),
        "multi30k": ("a man 7", "ein Mann 7"),
        "mnli": ("one 7\tother 7", "1"),
    }.get(name)
    if expected:
        assert expected[0] in texts
        assert expected[1] in targets
    assert len(texts) == 300


def test_questions_about_one_passage_are_in_one_part(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", question, 400)
    task = prepare_examples(TaskConfig(**{**TASKS["xquad"], "path": path}), "xquad")
    passages = [{one.text.split("\t")[1] for one in part} for part in task.parts.values()]
    assert sum(map(len, passages)) == len(set.union(*passages)) == 100


@pytest.fixture
def local_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a folder with SST-2's parts and classes, the test part's labels hidden as there."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    classes = datasets.ClassLabel(names=["negative", "positive"])
    text, number = datasets.Value("string"), datasets.Value("int32")
    features = datasets.Features({"idx": number, "sentence": text, "label": classes})
    folder = tmp_path / "sst2"
    for part, count in (("train", 200), ("validation", 40), ("test", 40)):
        rows = [one_sentence(i) | ({"label": -1} if part == "test" else {}) for i in range(count)]
        rows = [row | {"sentence": f"{part} {row['sentence']}"} for row in rows]
        file = folder / f"{part}.parquet"
        datasets.Dataset.from_list(rows, features=features).to_parquet(file)
    return str(folder)


def test_classes_of_a_set_have_their_names(local_set: str) -> None:
    options = {**TASKS["sst2"], "repository": local_set}
    task = prepare_examples(TaskConfig(**options), "sst2")
    assert task.labels == ("negative", "positive")
    counts = {part: len(examples) for part, examples in task.parts.items()}
    assert counts["test"] == 40
    assert counts["train"] + counts["validation"] == 200
    hidden = options | {"parts": {"train": "train", "test": "test"}}
    with pytest.raises(UserError) as raised:
        prepare_examples(TaskConfig(**hidden), "sst2")
    assert raised.value.code == "invalid-text"


def test_a_set_without_a_network_is_a_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.data.sources.hub.is_reachable", lambda name, group: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    sweep = compose.compose_sweep(["arch=rnn", "task=sst2"])
    with pytest.raises(
        UserError, match=r"stanfordnlp/sst2 needs a network.* task\.path="
    ) as raised:
        preflight.check_tasks(sweep.runs)
    assert raised.value.code == "no-network"
