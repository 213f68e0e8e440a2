"""A small training that takes milliseconds: a GRU on a repeating pattern."""

from typing import Any

import numpy as np
import yaml

from bench.config.schema import ObjectiveConfig, OptimizerConfig, Run, TrainConfig
from bench.data import TokenBlock
from bench.model import build_model
from bench.training import (
    LoggedStep,
    Objective,
    OptimizerLike,
    TrainSettings,
    TrainState,
    build_objective,
    build_optimizer,
    train,
    train_settings,
)
from tests.conftest import ROOT

ORIGIN = {"data": "d", "order": "o", "source": "s"}
GRU = ROOT / "conf" / "arch" / "gru.yaml"


class PatternBlocks:
    """Blocks of a repeating pattern, a pure function of the step."""

    def at(self, step: int) -> TokenBlock:
        offsets = np.random.default_rng(step).integers(0, 5, (6, 1))
        return TokenBlock((np.arange(9) + offsets) % 5)

    def tokens_seen(self, steps: int) -> int:
        return steps * 6 * 8


def make(
    seed: int = 0, kind: str = "adamw", **changes: Any
) -> tuple[Objective, OptimizerLike, TrainSettings]:
    """Return an objective, its optimizer and settings of 12 steps; `changes`: of TrainConfig."""
    arch = yaml.safe_load(GRU.read_text(encoding="utf-8"))
    recipe = {"steps": 12, "batch": 6, "log_every": 2, "warmup": 2} | changes
    settings = train_settings(Run(arch=arch, seed=seed, train=TrainConfig(**recipe)))
    objective = build_objective(ObjectiveConfig(), build_model(arch, 16, 8, 5, seed=seed))
    options = OptimizerConfig(kind=kind)
    return objective, build_optimizer(objective, options, settings.learning_rate), settings


def train_all(
    objective: Objective,
    optimizer: OptimizerLike,
    settings: TrainSettings,
    start: TrainState = TrainState(),  # noqa: B008
) -> list[LoggedStep]:
    """Train to the end; return the logged steps."""
    events = train(objective, optimizer, PatternBlocks(), settings, start)
    return [event.log for event in events if event.log]
