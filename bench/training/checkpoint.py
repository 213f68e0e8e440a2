"""Save and load the training state of a run, atomically."""

import copy
import logging
import math
import os
import pickle
import struct
import time
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.system import signals
from bench.system.checksums import CHANGED
from bench.system.files import atomic_write, fsync
from bench.training.distributed import SINGLE_PROCESS, ProcessGroup, gather_full, load_states
from bench.training.loop import StepEvent, TrainState
from bench.training.optimizer import OptimizerLike
from bench.training.settings import TrainSettings

logger = logging.getLogger(__name__)
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


@dataclass
class Checkpointer:
    """Save the training state every so many seconds, after the last step, and before a stop."""

    folder: Path
    objective: nn.Module
    optimizer: OptimizerLike
    origin: dict[str, str]  # digests of the run, its data, its order and its sources
    settings: TrainSettings
    every: float  # seconds
    start: TrainState = field(default_factory=TrainState)
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    stop: bool = False
    curve: list[str] = field(default_factory=list)  # lines of curve.jsonl

    def resume(self) -> TrainState:
        """Load the newest state that fits and return it; the clock starts now."""
        self.start = load_train_state(self.folder, self.objective, self.optimizer, self.origin)
        self.began = self.saved = time.monotonic()
        self.curve = self.start.curve.splitlines(keepends=True)
        return self.start

    def seconds(self) -> float:
        """Return the seconds of training so far, those before it was resumed included."""
        return self.start.seconds + time.monotonic() - self.began

    def due(self, step: int) -> bool:
        """Return whether the state is to be saved after this step; a collective.

        The clock is the one of rank 0, a request to stop counts from any rank.
        """
        late = step == self.settings.steps or time.monotonic() - self.saved > self.every
        group = self.settings.group
        request = group.all_reduce_max(2 * signals.stop_requested() + (group.is_main and late))
        self.stop = request > 1
        return request > 0

    def save(self, event: StepEvent) -> None:
        """Save the state after a step; raise StopRequested where that was requested."""
        nats, count = self.settings.group.all_reduce_sum(event.unlogged).tolist()
        if math.isfinite(nats):  # else it diverged, which the next logged step reports
            state = TrainState(event.step, self.seconds(), (nats, count), "".join(self.curve))
            parts = (self.objective, self.optimizer, self.origin, self.settings.group)
            save_train_state(self.folder, state, *parts)
        self.saved = time.monotonic()
        if self.stop:
            raise signals.StopRequested


def write_torch(path: Path, value: Any, previous: Path | None = None) -> None:
    """Write a file atomically; the file that it replaces is kept as `previous`, if given."""
    with atomic_write(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                torch.save(value, file)
        except RuntimeError as error:  # torch wraps the OSError of a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
        if previous is not None and path.exists():
            fsync(temporary)
            os.replace(path, previous)


def read_torch(path: Path, device: str = "cpu") -> Any:
    """Return what `write_torch` wrote; raise one of LOAD_ERRORS for anything else.

    torch does not compare the checksums that it writes, and reads a part as empty that is marked
    as a folder.
    """
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip() or any(part.external_attr for part in file.infolist())
    except (zipfile.BadZipFile, zlib.error, struct.error) as error:
        raise ValueError(str(error)) from None
    if damaged:
        raise ValueError(CHANGED)
    return torch.load(path, map_location=device, weights_only=True)


def save_train_state(
    folder: Path,
    state: TrainState,
    module: nn.Module,
    optimizer: OptimizerLike,
    origin: dict[str, str],
    group: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Write all that training needs to resume into one file; the file before it is kept.

    The file is the same for any number of ranks; rank 0 writes it.
    """
    states = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
    if group.sharded:
        states = gather_full(states)
    if group.is_main:
        newest, previous = (folder / name for name in TRAINING_FILES)
        write_torch(newest, {"origin": origin, **state._asdict(), **states}, previous)


def load_train_state(
    folder: Path, module: nn.Module, optimizer: OptimizerLike, origin: dict[str, str]
) -> TrainState:
    """Load the newest training state that fits; return how far it is (step 0 without one).

    A file that is damaged, does not fit the model, or has another origin is renamed, with a
    warning; then the previous file is tried, else training starts anew.
    """
    paths = [folder / name for name in TRAINING_FILES if (folder / name).exists()]
    fresh = [copy.deepcopy(part.state_dict()) for part in (module, optimizer) if paths]
    for path in paths:
        try:
            return _load_file(path, module, optimizer, origin)
        except LOAD_ERRORS as error:
            broken = path.with_name(f"{path.name}.broken")
            os.replace(path, broken)
            reason = (str(error) or type(error).__name__).splitlines()[0]
            last = path == paths[-1]
            then = "training starts anew" if last else f"resuming from {paths[-1].name}"
            logger.warning(f"{path} cannot be used ({reason}): set aside as {broken.name}, {then}")
        module.load_state_dict(fresh[0])
        optimizer.load_state_dict(fresh[1])
    return TrainState()


def _load_file(
    path: Path, module: nn.Module, optimizer: OptimizerLike, origin: dict[str, str]
) -> TrainState:
    saved = read_torch(path)
    if changed := [name for name, value in origin.items() if saved["origin"].get(name) != value]:
        raise ValueError(f"its {' and '.join(changed)} changed since")
    nats, count = saved["unlogged"]
    state = TrainState(
        int(saved["step"]), float(saved["seconds"]), (float(nats), float(count)), saved["curve"]
    )
    load_states(module, optimizer, saved)
    return state
