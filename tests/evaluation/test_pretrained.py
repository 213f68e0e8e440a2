"""A checkpoint that was trained elsewhere is a reference line, scored on the same text."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, T5Config

from bench import data
from bench.analysis.baselines import select_baselines
from bench.cli.sweep import Job, Sweep
from bench.config.errors import UserError
from bench.config.schema import DataConfig, Run, SizeConfig
from bench.config.task_schema import TaskConfig
from bench.data.tokenizer import load_vocabulary
from bench.evaluation.likelihood import causal_likelihood, metric_value
from bench.evaluation.pretrained import score_pretrained
from bench.evaluation.scorer import Scorer
from bench.execution.reference_lines import score_checkpoints
from bench.execution.tokenizer_file import write_tokenizer
from bench.records.finished import finished_runs
from bench.training import load, train_settings
from tests.conftest import Command
from tests.execution.test_huggingface_format import made_run

CONTEXT = 16


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return the folder of a small GPT-2 with random weights and a tokenizer of bytes."""
    folder = tmp_path / "elsewhere"
    config = GPT2Config(
        vocab_size=257, n_positions=CONTEXT, n_embd=16, n_layer=1, n_head=2,
        bos_token_id=256, eos_token_id=256,
    )  # fmt: skip
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    write_tokenizer(load_vocabulary({"kind": "bytes"}), CONTEXT, folder)
    return folder


def run_of(folder: Path, text: Path, context: int = CONTEXT) -> Run:
    arch = {"_target_": "architectures.huggingface.HuggingFace", "pretrained": str(folder)}
    return Run(
        arch=arch | {"tune": {"learning_rate": 0.001}}, size=SizeConfig(context=context),
        data=DataConfig(path=str(text)), names={"arch": "huggingface", "data": "text"},
    )  # fmt: skip


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.txt"
    path.write_text("the small red house stands under a green tree near the river\n" * 60)
    return path


def reference(suite: Path) -> dict[str, Any]:
    (path,) = (suite / "references").glob("*.json")
    return json.loads(path.read_text())


def test_its_score_is_the_mean_of_its_own_nats(
    checkpoint: Path, short: Path, tmp_path: Path
) -> None:
    sentence = score_pretrained(run_of(checkpoint, short), tmp_path / "suite")
    record = reference(tmp_path / "suite")
    (line,) = record["lines"]
    options = DataConfig(path=str(short), tokenizer=str(checkpoint / "tokenizer.json"))
    part = data.prepare(options, "text").parts[record["part"]]
    tokens = torch.tensor([t if t < 257 else 256 for t in part.tokens.tolist()])
    model = GPT2LMHeadModel.from_pretrained(checkpoint).eval()
    nats = 0.0
    for first in range(0, len(tokens) - 1, CONTEXT):
        window = tokens[first : first + CONTEXT + 1]
        logits = model(window[None, :-1]).logits[0].double()
        nats -= float(logits.log_softmax(-1).gather(1, window[1:, None]).sum().detach())
    expected = nats / torch.tensor(2.0).log().item() / int(part.sizes.sum())
    (score,) = line["metrics"][0]["values"]
    assert score == pytest.approx(expected, rel=1e-6)
    assert line["context"] == "pretrained"
    assert f"{score:.3f}" in sentence


def test_an_exported_run_has_the_score_of_the_run(short: Path, tmp_path: Path) -> None:
    from bench.execution.formats import huggingface

    folder = made_run(tmp_path / "suite", "transformer", layers=1)
    huggingface.export(folder, tmp_path / "out")
    score_pretrained(run_of(tmp_path / "out", short), tmp_path / "suite")
    (score,) = reference(tmp_path / "suite")["lines"][0]["metrics"][0]["values"]
    trained = load(folder)
    corpus = data.prepare(DataConfig(path=str(short)), "text")
    from bench.training import Causal

    scorer = Scorer(Causal(trained.model), corpus, CONTEXT, train_settings(trained.run))
    own = causal_likelihood(scorer).metrics
    assert score == pytest.approx(metric_value(own, "bits_per_byte"), rel=1e-6)


def test_it_is_a_line_of_each_table_of_its_text_and_never_the_best_baseline() -> None:
    import pandas as pd

    metrics = [{"name": "bits_per_byte", "values": [1.0]}]
    about = {"data_digest": "own", "text_digest": "t", "part": "test", "context": 16}
    line = {"name": "elsewhere", "note": "", "context": "pretrained", "metrics": metrics}
    ngram = line | {
        "name": "3-gram",
        "context": "windows",
        "metrics": [metrics[0] | {"values": [2]}],
    }
    counted = {"data_digest": "d", "part": "test", "context": 16, "lines": [ngram]}
    records: Any = SimpleNamespace(baselines=[about | {"lines": [line]}, counted])
    row = {"data_digest": "d", "text_digest": "t", "part": "test", "context": 16}
    table = pd.DataFrame([row | {"protocol": "chunk(16)"}])
    chosen = select_baselines(records, table, ())
    assert [one.name for one in chosen.lines] == ["3-gram", "elsewhere, pre-trained elsewhere"]
    assert chosen.best is not None
    assert chosen.lowest is not None
    assert {chosen.best.name, chosen.lowest.name} == {"3-gram"}
    assert not select_baselines(records, table.assign(text_digest="u"), ()).lines[1:]
    assert not select_baselines(records, table.assign(protocol="stride(16, 4)"), ()).lines


def no_folder(folder: Path) -> Path:
    return folder / "absent"


def pickled(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def without_tokenizer(folder: Path) -> Path:
    (folder / "tokenizer.json").unlink()
    return folder


def other_type(folder: Path) -> Path:
    T5Config().save_pretrained(folder)
    return folder


def without_weight(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.0.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (no_folder, "missing-file", "is no folder"),
        (pickled, "not-supported", "pytorch_model.bin"),
        (without_tokenizer, "not-supported", "no tokenizer.json"),
        (other_type, "not-supported", "a t5 does not predict"),
        (without_weight, "not-supported", "mlp.c_fc.weight"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    damage: Callable[[Path], Path], code: str, words: str,
    checkpoint: Path, short: Path, tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=words) as raised:
        score_pretrained(run_of(damage(checkpoint), short), tmp_path / "suite")
    assert raised.value.code == code


def test_a_longer_context_than_it_reads_and_symbols_are_refused(
    checkpoint: Path, short: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="at most 16 tokens"):
        score_pretrained(run_of(checkpoint, short, context=32), tmp_path / "suite")
    symbols = replace(run_of(checkpoint, short), data=DataConfig(source="synthetic"))
    with pytest.raises(UserError, match="draws symbols"):
        score_pretrained(symbols, tmp_path / "suite")


def test_nothing_starts_from_it(checkpoint: Path, short: Path) -> None:
    run = replace(run_of(checkpoint, short), task=TaskConfig(kind="classification"))
    with pytest.raises(UserError, match="nothing starts from it") as raised:
        score_checkpoints(Sweep((Job(run, ()),)))
    assert raised.value.code == "not-supported"
    with pytest.raises(UserError, match="nothing starts from it") as raised:
        finished_runs(checkpoint)
    assert raised.value.code == "not-supported"


@pytest.mark.slow
def test_the_command_scores_it_beside_trained_runs(
    checkpoint: Path, short: Path, run_command: Command, tmp_path: Path
) -> None:
    shared = [f"data.path={short}", "data=text", "size=tiny", f"size.context={CONTEXT}"]
    shared += ["measure=off", "figures=none", "train.steps=2", "evaluate.stretches=0"]
    assert run_command("arch=bigram", *shared).returncode == 0
    done = run_command("arch=huggingface", f"arch.pretrained={checkpoint}", *shared)
    assert done.returncode == 0, done.stderr
    assert "pre-trained elsewhere" in done.stderr
    lines = (tmp_path / "results/single/report/references.csv").read_text().splitlines()
    (line,) = [line for line in lines if "elsewhere, pre-trained elsewhere" in line]
    assert ",pretrained," in line
    assert "elsewhere" not in (tmp_path / "results/single/report/verdicts.csv").read_text()
    page = (tmp_path / "results/single/report/index.html").read_text(encoding="utf-8")
    assert "pre-trained elsewhere" in page
