"""Exports load in transformers with the same logits and the same token ids."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench import export
from bench.config.schema import DataConfig, Run, SizeConfig, TrainConfig
from bench.data import Vocabulary
from bench.data.tokenizer import load_vocabulary
from bench.execution.formats import huggingface
from bench.execution.tokenizer_file import SEPARATOR, write_tokenizer
from bench.model import build_model
from bench.records import store
from bench.records.metrics import metric
from bench.training import save_weights
from tests.conftest import ROOT

CONTEXT = 16
TEXT = "Größe: 3 € — “quoted”\n\tdef f(x): return x\n\n  end "
BYTES = {"kind": "bytes"}


def made_run(root: Path, name: str, vocabulary: dict[str, Any] = BYTES, **options: Any) -> Path:
    """Return the folder of a finished run with random weights."""
    arch = yaml.safe_load((ROOT / "conf" / "arch" / f"{name}.yaml").read_text()) | options
    run = Run(
        arch=arch, data=DataConfig(source="python_docs"), train=TrainConfig(learning_rate=0.001),
        size=SizeConfig(context=CONTEXT), names={"arch": name, "data": "text", "size": "tiny"},
        suite=root.name, results=str(root.parent),
    )  # fmt: skip
    folder = root / "runs" / store.run_name(run)
    store.create_record(folder, run, {}, {"digests": {"data": "d1d1d1d1"}})
    words = load_vocabulary(vocabulary)
    model = build_model(arch, 20, CONTEXT, words.size, seed=3)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.1 * torch.randn_like(one))  # norms are no longer all ones
    save_weights(folder / "checkpoint", model, words, 20)
    store.write_result(folder, "done", metrics=[metric("bits_per_byte", 2.125)])
    return folder


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({"layers": 2}, "qwen3"),
        ({"layers": 2, "window": 5, "heads": 3}, "qwen3"),
        ({"layers": 2, "normed": False, "feed": "geglu"}, "llama"),
    ],
)
def test_a_form_of_transformers_has_the_same_logits(
    tmp_path: Path, options: dict[str, Any], form: str
) -> None:
    folder = made_run(tmp_path / "suite", "transformer", **options)
    exported = huggingface.export(folder, tmp_path / "out", "mit")
    assert (exported.form, exported.reason) == (form, "")
    assert exported.difference < 1e-5
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    assert "| bits per byte | 2.125 |" in card


@pytest.mark.parametrize("name", ["gpt", "moe", "bert", "modern_bert"])
def test_what_has_no_such_form_is_written_as_weights(tmp_path: Path, name: str) -> None:
    from safetensors.torch import load_file

    folder = made_run(tmp_path / "suite", name, layers=1)
    exported = huggingface.export(folder, tmp_path / "out")
    assert exported.form == ""
    assert exported.reason
    saved = torch.load(folder / "checkpoint" / "weights.pt", weights_only=True)["model"]
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert written.keys() == saved.keys()
    assert all(torch.equal(written[key], value) for key, value in saved.items())
    assert (tmp_path / "out" / "vocabulary.json").exists()


def vocabularies() -> dict[str, Vocabulary]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    learned.train_from_iterator([TEXT] * 3, trainer)
    return {
        "bytes": load_vocabulary(BYTES),
        "characters": load_vocabulary({"kind": "characters", "characters": "".join(set(TEXT))}),
        "bpe": load_vocabulary({"kind": "bpe", "tokenizer": learned.to_str()}),
    }


@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_the_tokenizer_has_the_same_ids(tmp_path: Path, kind: str) -> None:
    from transformers import AutoTokenizer

    vocabulary = vocabularies()[kind]
    assert write_tokenizer(vocabulary, CONTEXT, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert ids == vocabulary.encode(TEXT).tolist()
    assert tokenizer.convert_tokens_to_ids(SEPARATOR) == vocabulary.separator
    assert tokenizer.decode(ids) == TEXT


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "invalid-command"),
        (("RUN",), "invalid-command"),
        (("RUN", "to=onnx"), "unknown-choice"),
        (("RUN", "to=huggingface", "form=x"), "unknown-key"),
        (("absent", "to=huggingface"), "no-records"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"[{reason}]" in error


def test_a_run_that_is_not_done_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path / "suite", "transformer", layers=1)
    result = store.read_json(folder / "result.json") | {"status": "failed"}
    store.write_json(folder / "result.json", result)
    assert export.main([str(folder), "to=huggingface"]) == 2
    assert "[no-records]" in capsys.readouterr().err
