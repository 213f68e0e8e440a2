"""Weights and training state to disk and back, whole or not at all."""

import copy
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from bench.config import Mistake, Run, from_plain
from bench.data import Vocabulary, tokenizer
from bench.model import LanguageModel
from bench.model import build as build_model
from bench.optimizer import Optimizer
from bench.record import write_json


def _save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}")
    with open(neighbour, "wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(neighbour, path)


def save_training(folder: Path, step: int, module: nn.Module, optimizer: Optimizer, origin: dict[str, str]) -> None:
    """Everything that training needs to go on from a step, in one file that replaces the one before.

    `origin`: digests of the data, the order and the sources that brought it here.
    """
    state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
    _save(folder / "training.pt", {"step": step, "origin": origin, **state})


def drop_training(folder: Path) -> None:
    """Remove the training state of a run whose result is written."""
    (folder / "training.pt").unlink(missing_ok=True)


def resume(folder: Path, module: nn.Module, optimizer: Optimizer, origin: dict[str, str], say: Callable[[str], None]) -> int:
    """Load the training state, where there is one, and return the step it stands at (0 without one).

    A file that is broken, does not suit the model, or comes from other data or sources is named and set aside, and
    training starts anew: half of one run and half of another would be neither.
    """
    path = folder / "training.pt"
    if not path.exists():
        return 0
    fresh = [copy.deepcopy(part.state_dict()) for part in (module, optimizer)]
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if changed := [name for name, value in origin.items() if saved["origin"][name] != value]:
            raise ValueError(f"its {' and '.join(changed)} changed since")
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        return int(saved["step"])
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        aside = path.with_name("training.pt.broken")
        os.replace(path, aside)
        say(f"{path} can not be used ({str(error).splitlines()[0]}): set aside as {aside.name}, training starts anew")
    module.load_state_dict(fresh[0])
    optimizer.load_state_dict(fresh[1])
    return 0


def save_weights(folder: Path, model: nn.Module, vocabulary: Vocabulary, width: int) -> None:
    """The weights of a trained run, and what is needed to use them."""
    _save(folder / "weights.pt", {"width": width, "model": model.state_dict()})
    write_json(folder / "vocabulary.json", vocabulary.describe())


@dataclass(frozen=True)
class Trained:
    """A trained model, ready to use."""

    model: LanguageModel
    vocabulary: Vocabulary
    run: Run


def read_run(folder: Path) -> Run:
    """The configuration of a recorded run. Raises Mistake where the folder holds none."""
    try:
        return from_plain(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise Mistake(f"{folder} is not the folder of a run: it has no config.yaml (runs lie in results/<suite>/runs)") from None


def load(folder: str | Path, device: str = "cpu") -> Trained:
    """A trained model from its run's folder. Raises Mistake where there is none, or where it is broken."""
    folder = Path(folder)
    run = read_run(folder)
    path = folder / "checkpoint" / "weights.pt"
    if not path.exists():
        raise Mistake(f"{folder} has no weights: the run did not finish")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        vocabulary = tokenizer.load(json.loads((path.parent / "vocabulary.json").read_text(encoding="utf-8")))
        model = build_model(run.arch, saved["width"], run.size.context, vocabulary.size, seed=run.seed)
        model.load_state_dict(saved["model"])
        model.to(device)
    except (RuntimeError, ValueError, AssertionError, KeyError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise Mistake(f"{path} can not be used on {device} ({str(error).splitlines()[0]}): train again with again=all") from None
    return Trained(model.eval(), vocabulary, run)
