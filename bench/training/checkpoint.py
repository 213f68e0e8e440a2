"""Weights and training state to disk and back, whole or not at all."""

import copy
import json
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor, nn

from bench.config.errors import UserError
from bench.config.schema import Run, run_from_dict
from bench.data import Vocabulary, tokenizer
from bench.model.language_model import LanguageModel, describe_error
from bench.model.language_model import build_model as build_model
from bench.records.store import write_json
from bench.system import signals
from bench.system.files import atomic_write, fsync
from bench.training.distributed import SINGLE_PROCESS, ProcessGroup, gather_full
from bench.training.distributed import load_states as load_states
from bench.training.optimizer import OptimizerLike

TRAINING_FILES = ("training.pt", "training.previous.pt")  # the newer one is tried first
LOAD_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    OSError,
    pickle.UnpicklingError,
)


class TrainState(NamedTuple):
    """Where training stands: steps done, the seconds that they took, and nats and targets since the last logged step."""

    step: int = 0
    seconds: float = 0.0
    unlogged: tuple[float, float] = (0.0, 0.0)


def _write_file(path: Path, value: Any, before: Path | None = None) -> None:
    """Write a file whole; the one that it replaces becomes `before`, where that is named."""
    with atomic_write(path) as neighbour:
        try:
            with open(neighbour, "wb") as file:
                torch.save(value, file)
        except RuntimeError as error:  # what torch makes of a disk that is full
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        if before is not None and path.exists():
            fsync(neighbour)
            os.replace(path, before)


def save_train_state(
    folder: Path,
    place: TrainState,
    module: nn.Module,
    optimizer: OptimizerLike,
    origin: dict[str, str],
    team: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Everything that training needs to go on from a place, in one file; the one before it is kept.

    `origin`: digests of the run, the data, the order and the sources that brought it here. The file is the same for any team,
    whose first writes it.
    """
    state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
    if team.sharded:
        state = gather_full(state)
    if not team.first:
        return
    newest, before = (folder / name for name in TRAINING_FILES)
    _write_file(newest, {"origin": origin, **place._asdict(), **state}, before)


def load_train_state(
    folder: Path,
    module: nn.Module,
    optimizer: OptimizerLike,
    origin: dict[str, str],
    say: Callable[[str], None],
) -> TrainState:
    """Load the newest training state that suits, and return where it stands (step 0 without one).

    A file that is broken, does not suit the model, or comes from another run, other data or sources is named and set
    aside, and training goes on from the one before or starts anew: half of one run and half of another would be neither.
    """
    found = [folder / name for name in TRAINING_FILES if (folder / name).exists()]
    fresh = [copy.deepcopy(part.state_dict()) for part in (module, optimizer) if found]
    for path in found:
        try:
            return _load_file(path, module, optimizer, origin)
        except LOAD_ERRORS as error:
            aside = path.with_name(f"{path.name}.broken")
            os.replace(path, aside)
            why = (str(error) or type(error).__name__).splitlines()[0]
            then = (
                "training starts anew" if path == found[-1] else f"going on from {found[-1].name}"
            )
            say(f"{path} can not be used ({why}): set aside as {aside.name}, {then}")
        module.load_state_dict(fresh[0])
        optimizer.load_state_dict(fresh[1])
    return TrainState()


def _load_file(
    path: Path, module: nn.Module, optimizer: OptimizerLike, origin: dict[str, str]
) -> TrainState:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if changed := [name for name, value in origin.items() if saved["origin"].get(name) != value]:
        raise ValueError(f"its {' and '.join(changed)} changed since")
    nats, count = saved["unlogged"]
    place = TrainState(int(saved["step"]), float(saved["seconds"]), (float(nats), float(count)))
    load_states(module, optimizer, saved)
    return place


class Checkpointer:
    """Saves the training state of one run when that is due: every so many seconds, at the end, and when asked to stop."""

    def __init__(
        self,
        save: Callable[[TrainState], None],
        seconds: float,
        first: TrainState,
        team: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.save, self.every, self.first, self.group = save, seconds, first, team
        self.began = self.saved = time.monotonic()

    def seconds(self) -> float:
        """Of training so far, over every time that the run was taken up."""
        return self.first.seconds + time.monotonic() - self.began

    def after(self, step: int, unlogged: Tensor, last: bool) -> None:
        """Called after each step. Raises Stopped where that was asked for, once the state is saved."""
        due = self.group.first and (
            last or time.monotonic() - self.saved > self.every
        )  # clocks differ: the first one's counts
        wanted = self.group.most(2 * signals.stop_requested() + due)
        if not wanted:
            return
        nats, count = self.group.whole(unlogged).tolist()
        if math.isfinite(nats):  # else it diverged, and says so at the next logged step
            self.save(TrainState(step, self.seconds(), (nats, count)))
        self.saved = time.monotonic()
        if wanted > 1:  # of one of them
            raise signals.StopRequested


def save_weights(folder: Path, model: nn.Module, vocabulary: Vocabulary, width: int) -> None:
    """The weights of a trained run, and what is needed to use them."""
    _write_file(folder / "weights.pt", {"width": width, "model": model.state_dict()})
    write_json(folder / "vocabulary.json", vocabulary.describe())


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, ready to use."""

    model: LanguageModel
    vocabulary: Vocabulary
    run: Run


def read_run(folder: Path) -> Run:
    """The configuration of a recorded run. Raises UserError where the folder holds none."""
    try:
        return run_from_dict(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise UserError(
            f"{folder} is not the folder of a run: it has no config.yaml (runs lie in results/<suite>/runs)"
        ) from None


def load(folder: str | Path, device: str = "cpu") -> TrainedModel:
    """A trained model from its run's folder. Raises UserError where there is none, or where it is broken."""
    folder = Path(folder)
    run = read_run(folder)
    weights, words = folder / "checkpoint" / "weights.pt", folder / "checkpoint" / "vocabulary.json"
    if not weights.exists():
        raise UserError(f"{folder} has no weights: the run did not finish")
    with _explain_damage(words):
        vocabulary = tokenizer.load_vocabulary(json.loads(words.read_text(encoding="utf-8")))
    with _explain_damage(weights):
        saved = torch.load(weights, map_location="cpu", weights_only=True)
        width, values = int(saved["width"]), dict(saved["model"])
    model = build_model(run.arch, width, run.size.context, vocabulary.size, seed=run.seed)
    with _explain_damage(
        weights, "does not fit the model that config.yaml, vocabulary.json and the sources describe"
    ):
        model.load_state_dict(values)
    try:
        model.to(device)
    except (
        RuntimeError,
        AssertionError,
    ) as error:  # torch's own, for a device that is none or has no room
        raise UserError(
            f"device {device} can not be used ({describe_error(error)}): leave it out to use cpu"
        ) from None
    return TrainedModel(model.eval(), vocabulary, run)


@contextmanager
def _explain_damage(path: Path, what: str = "is damaged or missing") -> Iterator[None]:
    """Name the file of a trained run that can not be used, and what to do."""
    try:
        yield
    except Exception as error:  # tokenizers has no narrower kind
        raise UserError(
            f"{path} {what} ({describe_error(error)[:150]}): copy it from where it came, or train again with again=all"
        ) from None
