"""Resolve the recipe of one run on this machine: schedule, device, precision, processes."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from bench.config.errors import UserError
from bench.config.schema import Run, resolve_learning_rate
from bench.training.distributed import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True)
class TrainSettings:
    """The recipe of one run, with nothing left to choose."""

    steps: int
    batch: int
    accumulate: int
    learning_rate: float
    final_rate: float
    warmup: int
    schedule: str
    clip: float
    device: torch.device
    precision: torch.dtype
    tf32: bool
    compile: str
    seed: int
    log_every: int
    validations: int
    group: ProcessGroup = SINGLE_PROCESS

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: warm-up, then decay."""
        warmup = min(self.warmup, self.steps // 2)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step + 1 - warmup) / max(1, self.steps - warmup)
        left = {
            "linear": 1 - done,
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "constant": 1.0,
        }[self.schedule]
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * left)

    def logging_due(self, done: int) -> bool:
        """Return whether the curve gets a row after so many steps."""
        return done % self.log_every == 0 or done == self.steps

    def validation_due(self, step: int) -> bool:
        """Return whether validation is due after this many steps; asked at logged steps only."""
        looks = {
            max(1, round(self.steps * (i + 1) / self.validations)) for i in range(self.validations)
        }
        return any(step - self.log_every < look <= step for look in looks) or (
            step == self.steps and bool(looks)
        )


def train_settings(run: Run) -> TrainSettings:
    """Return the settings of a run on this machine. Raise UserError for a device it lacks."""
    train, cuda = run.train, torch.cuda.is_available()
    if train.device == "cuda" and not cuda:
        raise UserError(
            "train.device=cuda: this machine, or this build of torch, has no CUDA device: "
            "use train.device=auto",
            "unavailable-device",
        )
    device = torch.device("cuda" if train.device != "cpu" and cuda else "cpu")
    if train.precision == "tf32" and device.type != "cuda":
        raise UserError(
            "train.precision=tf32: only CUDA devices have it: use train.precision=auto",
            "unavailable-device",
        )
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    bfloat16 = train.precision == "bfloat16" or (train.precision == "auto" and has_bfloat16)
    return TrainSettings(
        steps=train.steps,
        batch=train.batch,
        accumulate=train.accumulate,
        learning_rate=resolve_learning_rate(run),
        final_rate=train.final_rate,
        warmup=train.warmup,
        schedule=train.schedule,
        clip=train.clip,
        device=device,
        precision=torch.bfloat16 if bfloat16 else torch.float32,
        tf32=train.precision == "tf32",
        compile=train.compile,
        seed=run.seed,
        log_every=train.log_every,
        validations=train.validations,
    )


def set_matmul_precision(settings: TrainSettings) -> None:
    """Set how exact float32 products are on CUDA, for the whole process."""
    torch.backends.cudnn.allow_tf32 = settings.tf32  # cuDNN's own switch, on by default
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")


def precision_name(settings: TrainSettings) -> str:
    """Return the name of the precision in records."""
    return "tf32" if settings.tf32 else str(settings.precision).removeprefix("torch.")


def autocast(settings: TrainSettings) -> AbstractContextManager:
    """Return the context of a forward pass."""
    if settings.precision == torch.float32:
        return nullcontext()
    return torch.autocast(settings.device.type, dtype=settings.precision)


def torch_generator(*key: int) -> torch.Generator:
    """Return a generator that is a pure function of its key: resuming needs no saved state."""
    high, low = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(high) << 31 | int(low) >> 1)


def seed_devices(device: torch.device, seed: int) -> None:
    """Seed the global generators in use; torch.manual_seed seeds all kinds and takes 0.3 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
