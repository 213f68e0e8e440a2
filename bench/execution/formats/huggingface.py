"""Write a trained run for the Hugging Face ecosystem.

Where `transformers` has a model that computes the same, it is written in that form and compared;
else the weights as safetensors, with what is needed to load them here.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from architectures.interface import TransformersForm, Unsupported
from bench.config.errors import UserError
from bench.execution.model_card import model_card
from bench.execution.tokenizer_file import write_tokenizer
from bench.model import LanguageModel
from bench.records import run_status
from bench.records.store import write_text
from bench.system.files import atomic_write, check_writable
from bench.training import TrainedModel, load

TOLERANCE = 1e-4  # of the largest logit
CHECKED_ROWS = 2  # random sequences of the full context that both models read
EQUAL_USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(folder)
```
A document is preceded by the separator, the tokenizer's `bos_token`."""
OWN_USE = """No model of transformers computes the same: `model.safetensors` has the weights under
this project's names, for `bench.training.load` with `config.yaml` and `vocabulary.json`."""


class Exported(NamedTuple):
    """What was written."""

    folder: Path
    form: str  # the model type of transformers; empty where there is no equal model
    difference: float  # largest difference of logits over the largest logit; NaN without a form
    reason: str  # why there is no equal model

    def __str__(self) -> str:
        if not self.form:
            return (
                f"{self.folder}: weights as safetensors, without a model of transformers: "
                f"{self.reason}"
            )
        equal = f"logits equal to {self.difference:.1e}"
        return f"{self.folder}: a {self.form} of transformers, {equal}"


def export(folder: Path, into: Path, licence: str = "unknown") -> Exported:
    """Write the trained model of a run's folder into another folder, with a model card.

    Raise UserError for a run that is not done, or a form that does not compute the same.
    """
    _check_packages()
    if run_status(folder) != "done":
        raise UserError(f"{folder} is not a finished run: nothing to export", "no-records")
    trained = load(folder)
    check_writable(into)
    write_tokenizer(trained.vocabulary, trained.run.size.context, into)
    try:
        form = trained.model.backbone.transformers_form()
    except Unsupported as reason:
        _write_own(folder, into, trained)
        card = model_card(folder, trained.run, OWN_USE, {"license": licence})
        write_text(into / "README.md", card)
        return Exported(into, "", float("nan"), str(reason))
    _write_form(form, into, trained)
    head = {"license": licence, "library_name": "transformers", "pipeline_tag": "text-generation"}
    write_text(into / "README.md", model_card(folder, trained.run, EQUAL_USE, head))
    return Exported(into, str(form.config["model_type"]), _verify(trained, into), "")


def _check_packages() -> None:
    """Raise UserError without the packages of the extra `huggingface`."""
    for name in ("transformers", "tokenizers", "safetensors"):
        if find_spec(name) is None:
            raise UserError(
                f"to={Path(__file__).stem} needs the package {name}: pip install "
                "'architecture-bench[huggingface]'",
                "missing-package",
            )


def _write_form(form: TransformersForm, into: Path, trained: TrainedModel) -> None:
    """Write configuration and weights of the equal model of transformers."""
    separator = trained.vocabulary.separator
    shared = {"vocab_size": trained.vocabulary.size, "tie_word_embeddings": True}
    tokens = {"bos_token_id": separator, "eos_token_id": separator, "dtype": "float32"}
    write_text(into / "config.json", json.dumps(form.config | shared | tokens, indent=1))
    _save(_weights(form, trained.model), into)


def _weights(form: TransformersForm, model: LanguageModel) -> dict[str, Tensor]:
    return {**form.weights, form.embedding: model.head_weight, form.norm: model.norm.weight}


def _save(weights: dict[str, Tensor], into: Path) -> None:
    from safetensors.torch import save

    plain = {name: one.detach().cpu().clone().contiguous() for name, one in weights.items()}
    with atomic_write(into / "model.safetensors") as neighbour:
        neighbour.write_bytes(save(plain, metadata={"format": "pt"}))


def _write_own(folder: Path, into: Path, trained: TrainedModel) -> None:
    """Write the weights under their own names, with configuration and vocabulary."""
    _save(dict(trained.model.state_dict()), into)
    shutil.copyfile(folder / "config.yaml", into / "config.yaml")
    shutil.copyfile(folder / "checkpoint" / "vocabulary.json", into / "vocabulary.json")


def _verify(trained: TrainedModel, into: Path) -> float:
    """Return the relative difference of logits; raise UserError where it is no rounding."""
    difference = _compare(trained.model, into, trained.run.size.context)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{into} computes other logits than the run (off by {difference:.2g} of the largest): "
            "it is no export, remove it",
            "not-supported",
        )
    return difference


@torch.no_grad()
def _compare(model: LanguageModel, into: Path, context: int) -> float:
    """Return the largest difference of logits between a model and its export, relative."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.vocabulary, (CHECKED_ROWS, context), generator=draw)
    exported = AutoModelForCausalLM.from_pretrained(into, dtype=torch.float32).eval()
    expected, logits = model(tokens)[0], exported(tokens).logits
    return float((logits - expected).abs().max() / expected.abs().max())
