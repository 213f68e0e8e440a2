"""Score what needs no network on a task: majority, bags of words, copies and shortcuts.

Each learns from the training examples that the networks have. Imports no torch.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.config.identity import digest
from bench.config.schema import Run
from bench.records import store
from bench.records.metrics import Metric, metric
from bench.tasks.finetuning.examples import TaskExamples, prepare_examples
from bench.tasks.finetuning.overlap import text_metrics
from bench.tasks.finetuning.sources.base import Example

WORD = r"(?u)\w+|[^\w\s]"  # words and signs
PENALTIES = (0.1, 1.0, 10.0)  # C of the logistic regression, chosen on the validation part
MISSING = "needs scikit-learn: python -m pip install 'architecture-bench[finetune]'"


class TaskBaseline(NamedTuple):
    """A baseline: its name, how it was made, its scores, and which test examples it solves."""

    name: str
    note: str
    metrics: list[Metric]
    hits: list[int]

    def as_json(self) -> dict[str, Any]:
        """Return what the file of the baselines holds."""
        metrics = [metric.as_json() for metric in self.metrics]
        return {**self._asdict(), "metrics": metrics}


def baselines_path(run: Run, task_digest: str) -> Path:
    """Return the file of a task's baselines, named by what they learn from and are scored on."""
    task = run.task
    key = [task_digest, task.kind, task.examples, task.decode if task.kind == "generation" else 0]
    name = f"{run.names['task']}-{digest(key)}.json".replace("/", "_")
    return Path(run.results) / run.suite / "references" / "tasks" / name


def score_task_baselines(runs: Iterable[Run]) -> None:
    """Score the baselines of each task and number of training examples once. Raise UserError."""
    distinct = {(run.names["task"], run.task.path, run.task.examples): run for run in runs}
    for run in distinct.values():
        _score_baselines(run)


def _score_baselines(run: Run) -> None:
    """Write the baselines of a run's task, unless that was done."""
    task = prepare_examples(run.task, run.names["task"], run.data.cache)
    path = baselines_path(run, task.digest)
    if run.task.kind == "pairs" or store.read_json(path):
        return
    train, test = task.training(run.task.examples), task.parts["test"]
    if run.task.kind == "classification":
        lines = label_baselines(train, task.parts["validation"], test)
    else:
        lines = answer_baselines(train, test[: run.task.decode or None], task)
    content = {
        "task": run.names["task"],
        "data_digest": task.digest,
        "examples": run.task.examples,
        "scored": len(lines[0].hits),
        "lines": [line.as_json() for line in lines],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_json(path, content)


# --- labels ---------------------------------------------------------------------------------------


def label_baselines(
    train: list[Example], validation: list[Example], test: list[Example]
) -> list[TaskBaseline]:
    """Return the most frequent label, and logistic regressions on words and on pairs of words."""
    label = Counter(example.target for example in train).most_common(1)[0][0]
    lines = [_label_line("majority", f"always {label}", [label] * len(test), test)]
    for name, longest, what in (
        ("bag of words", 1, "words"),
        ("bag of word pairs", 2, "words and pairs of neighbouring words"),
    ):
        try:
            labels, penalty = _logistic_regression(train, validation, test, longest)
        except ImportError:
            lines.append(TaskBaseline(name, MISSING, [], []))
            continue
        note = f"logistic regression on {what}, C={penalty:g} by the validation part"
        lines.append(_label_line(name, note, labels, test))
    return lines


def _label_line(name: str, note: str, labels: list[str], test: list[Example]) -> TaskBaseline:
    hits = [int(label == example.target) for label, example in zip(labels, test, strict=True)]
    return TaskBaseline(name, note, [metric("label_accuracy", float(np.mean(hits)))], hits)


def _logistic_regression(
    train: list[Example], validation: list[Example], test: list[Example], longest: int
) -> tuple[list[str], float]:
    """Return the labels of the test part and the penalty: that of the best validation accuracy."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = CountVectorizer(ngram_range=(1, longest), token_pattern=WORD, binary=True)
    features = vectorizer.fit_transform(example.text for example in train)
    held_out = vectorizer.transform(example.text for example in validation)
    labels, wanted = [example.target for example in train], [e.target for e in validation]
    fitted = []
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(features, labels)
        fitted.append((float(model.score(held_out, wanted)), -penalty, model))
    _, negative, best = max(fitted, key=lambda one: one[:2])
    predicted = best.predict(vectorizer.transform(example.text for example in test))
    return [str(label) for label in predicted], -negative


# --- answers --------------------------------------------------------------------------------------


def answer_baselines(
    train: list[Example], test: list[Example], task: TaskExamples
) -> list[TaskBaseline]:
    """Return the most frequent answer, the nearest input's answer, and the task's own shortcut."""
    answer = Counter(example.target for example in train).most_common(1)[0][0]
    lines = [_answer_line("most frequent answer", f"always {answer!r}", [answer] * len(test), test)]
    try:
        nearest = [train[index].target for index in _nearest(train, test)]
        note = "the answer to the training input with the most similar character n-grams"
        lines.append(_answer_line("nearest input", note, nearest, test))
    except ImportError:
        lines.append(TaskBaseline("nearest input", MISSING, [], []))
    if shortcut := task.source.shortcut:
        answers = [task.source.shortcut_answer(example.text) for example in test]
        lines.append(_answer_line("shortcut", shortcut, answers, test))
    return lines


def _answer_line(name: str, note: str, answers: list[str], test: list[Example]) -> TaskBaseline:
    references = [example.target for example in test]
    hits = [int(one == other) for one, other in zip(answers, references, strict=True)]
    return TaskBaseline(name, note, text_metrics(answers, references), hits)


def _nearest(train: list[Example], test: list[Example]) -> np.ndarray:
    """Return the training example whose input is nearest to each test input, (N,)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4))
    features = vectorizer.fit_transform(example.text for example in train)
    similar = vectorizer.transform(example.text for example in test) @ features.T
    return np.asarray(similar.argmax(axis=1)).ravel()
