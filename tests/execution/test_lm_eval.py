"""lm-evaluation-harness scores a run as this project does, and as it scores the same weights."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from bench import evaluate
from bench.config.errors import UserError
from bench.config.schema import ObjectiveConfig
from bench.data import Corpus, Part
from bench.evaluation.likelihood import causal_likelihood, metric_value
from bench.evaluation.scorer import Scorer
from bench.execution import lm_eval as command
from bench.training import build_objective, load, train_settings
from tests.execution.test_huggingface_format import CONTEXT, made_run

TEXT = "the small red house stands under a green tree near the old river "
FULL = (TEXT * 5)[: 20 * CONTEXT]  # fills its windows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("lm_eval")
    return made_run(tmp_path_factory.mktemp("results") / "suite", "transformer", layers=1)


@pytest.fixture(scope="module")
def model(run: Path) -> Any:
    from bench.execution.lm_eval_model import TrainedRun

    return TrainedRun(str(run), batch_size=3)


@pytest.fixture(scope="module")
def same_weights(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same weights as lm_eval loads them, through the export for transformers."""
    from lm_eval.models.huggingface import HFLM

    from bench.execution.formats import huggingface

    into = tmp_path_factory.mktemp("exported")
    huggingface.export(run, into)
    return HFLM(pretrained=str(into), dtype="float32", device="cpu", max_length=CONTEXT)


def requests(*arguments: tuple[Any, ...]) -> list[Any]:
    return [SimpleNamespace(args=one, arguments=one) for one in arguments]


def own_bits_per_byte(run: Path, text: str) -> float:
    trained = load(run)
    separator = trained.vocabulary.separator
    ids = np.concatenate([[separator], trained.vocabulary.encode(text)])
    part = Part(ids, np.array([1]), np.array([len(text.encode())]))
    objective = build_objective(ObjectiveConfig(), trained.model)
    settings = train_settings(trained.run)
    corpus = Corpus(run, "00ff", trained.vocabulary, {"test": part}, {})
    score = causal_likelihood(Scorer(objective, corpus, CONTEXT, settings))
    value = metric_value(score.metrics, "bits_per_byte")
    assert value is not None
    return value


def test_rolling_likelihood_is_the_headline_score(model: Any, run: Path) -> None:
    (nats,) = model.loglikelihood_rolling(requests((FULL,)))
    bits = -nats / np.log(2) / len(FULL.encode())
    assert bits == pytest.approx(own_bits_per_byte(run, FULL), rel=1e-6)


def test_the_same_weights_have_the_same_scores(model: Any, same_weights: Any) -> None:
    texts = requests((TEXT,), ("a",), (FULL,), ("é — " * 9,))
    rolling = model.loglikelihood_rolling(texts)
    assert rolling == pytest.approx(same_weights.loglikelihood_rolling(texts), rel=1e-6)
    pairs = [("the small", " red"), ("", "old"), (TEXT, "river"), ("a b ", "c")]
    own = model.loglikelihood(requests(*pairs))
    theirs = same_weights.loglikelihood(
        requests(*((f"<|document|>{before}" if before else "", after) for before, after in pairs))
    )
    assert [one[0] for one in own] == pytest.approx([one[0] for one in theirs], rel=1e-6)
    assert [one[1] for one in own] == [one[1] for one in theirs]


def test_the_greedy_continuation_is_greedy_and_ends_at_a_stop(model: Any) -> None:
    (text,) = model.generate_until(requests(("the ", {"until": [], "max_gen_toks": 3})))
    prefix = text.encode()[:1].decode(errors="ignore")
    if prefix:
        ((_, greedy),) = model.loglikelihood(requests(("the", f" {prefix}")))
        assert isinstance(greedy, bool)
    (stopped,) = model.generate_until(
        requests(("the ", {"until": [text[1:2] or "x"], "max_gen_toks": 3}))
    )
    assert stopped == text.split(text[1:2] or "x")[0]


@pytest.mark.slow
def test_the_command_runs_a_local_task(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": FULL}, {"text": FULL[:CONTEXT]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "local_text",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "local_text.yaml").write_text(yaml.safe_dump(task))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "argv", [])
    words = f"--model architecture_bench --model_args run={run} --tasks local_text --device cpu"
    words += f" --include_path {tmp_path / 'tasks'} --output_path {tmp_path / 'out'}"
    assert evaluate.main(["lm_eval", *words.split()]) == 0
    (result,) = (tmp_path / "out").rglob("results*.json")
    value = json.loads(result.read_text())["results"]["local_text"]["bits_per_byte,none"]
    sizes = [len(row["text"]) for row in rows]
    scores = [own_bits_per_byte(run, row["text"]) for row in rows]
    assert value == pytest.approx(np.average(scores, weights=sizes), rel=1e-6)


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from bench.execution.lm_eval_model import TrainedRun

    folder = made_run(tmp_path / "suite", "bert", layers=1)
    with pytest.raises(UserError, match="is an encoder") as raised:
        TrainedRun(str(folder))
    assert raised.value.code == "not-supported"


def test_without_lm_eval_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr(command, "find_spec", missing)
    assert evaluate.main(["lm_eval"]) == 2
    assert "architecture-bench[lm_eval]" in capsys.readouterr().err
    assert evaluate.main(["--help"]) == 0
    assert "--model architecture_bench" in capsys.readouterr().out
