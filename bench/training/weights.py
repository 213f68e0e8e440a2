"""Save and load the weights of a trained run, with what is needed to use them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bench.config.errors import UserError
from bench.config.schema import Run, run_from_dict
from bench.data import Vocabulary
from bench.data.tokenizer import load_vocabulary
from bench.model import LanguageModel, build_model, describe_error
from bench.records.loading import read_config
from bench.records.store import require_unchanged, write_json
from bench.system.checksums import parse_checked_json
from bench.system.files import read_text
from bench.training.checkpoint import read_torch, write_torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, ready to use."""

    model: LanguageModel
    vocabulary: Vocabulary
    run: Run

    @property
    def damaged_values(self) -> int:
        """Return how many parameters are NaN or infinite."""
        return sum(int((~each.isfinite()).sum()) for each in self.model.parameters())


def save_weights(folder: Path, model: nn.Module, vocabulary: Vocabulary, width: int) -> None:
    """Write the weights of a trained model and its vocabulary."""
    write_torch(folder / "weights.pt", {"width": width, "model": model.state_dict()})
    write_json(folder / "vocabulary.json", vocabulary.describe())


def read_run(folder: Path) -> Run:
    """Return the configuration of a recorded run. Raise UserError where the folder holds none."""
    try:
        run = run_from_dict(read_config(folder / "config.yaml"))
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{folder} is not the folder of a run: it has no config.yaml "
            "(runs are in results/<suite>/runs)",
            "no-records",
        ) from None
    require_unchanged(folder, "config.yaml")
    return run


def load(folder: str | Path, device: str = "cpu") -> TrainedModel:
    """Return the trained model of a run's folder. Raise UserError where it cannot be used."""
    folder = Path(folder)
    run = read_run(folder)
    weights = folder / "checkpoint" / "weights.pt"
    vocabulary_file = weights.with_name("vocabulary.json")
    if not weights.exists():
        raise UserError(f"{folder} has no weights: the run did not finish", "no-records")
    with _explain_damage(vocabulary_file):
        vocabulary = load_vocabulary(parse_checked_json(read_text(vocabulary_file)))
    with _explain_damage(weights):
        saved = read_torch(weights)
        width, state = int(saved["width"]), dict(saved["model"])
    model = build_model(run.arch, width, run.size.context, vocabulary.size, seed=run.seed)
    misfit = "does not fit the model that config.yaml, vocabulary.json and the sources describe"
    with _explain_damage(weights, misfit):
        model.load_state_dict(state)
    _move(model, device)
    trained = TrainedModel(model.eval(), vocabulary, run)
    if count := trained.damaged_values:
        message = "%s: %d parameters are not finite (NaN or infinite): their scores mean nothing"
        logger.warning(message, weights, count)
    return trained


def _move(model: nn.Module, device: str) -> None:
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # no such device, or no room on it
        raise UserError(
            f"device {device} cannot be used ({describe_error(error)}): leave it out to use cpu",
            "unavailable-device",
        ) from None


@contextmanager
def _explain_damage(path: Path, what: str = "is damaged or missing") -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tokenizers raises nothing narrower
        raise UserError(
            f"{path} {what} ({describe_error(error)[:150]}): copy it from where it came, "
            "or train again with again=all",
            "unreadable-file",
        ) from None
