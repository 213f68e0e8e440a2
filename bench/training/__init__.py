"""Train one model: objectives, optimizers, precision, distribution, checkpoints."""

from bench.training.checkpoint import Checkpointer
from bench.training.compilation import compile_objective, warm_up
from bench.training.cross_entropy import logits_nats, tokens_per_piece
from bench.training.distributed import (
    SINGLE_PROCESS,
    ProcessGroup,
    gather_full,
    is_main_process,
    shard_parameters,
    torchrun_store,
)
from bench.training.loop import Diverged, LoggedStep, StepEvent, TrainState, train, train_step
from bench.training.objective import (
    Batch,
    Causal,
    LossSum,
    Masked,
    Objective,
    Trainable,
    build_objective,
)
from bench.training.optimizer import OptimizerLike, build_optimizer, muon_precision
from bench.training.parameter_kinds import parameter_kinds
from bench.training.run_setup import (
    Setup,
    TrainSetup,
    resolve_inputs,
    setup,
    setup_on_random_tokens,
)
from bench.training.settings import (
    TrainSettings,
    autocast,
    precision_name,
    set_matmul_precision,
    torch_generator,
    train_settings,
)
from bench.training.weights import TrainedModel, load, read_run, save_weights

__all__ = [
    "SINGLE_PROCESS", "Batch", "Causal", "Checkpointer", "Diverged", "LoggedStep", "LossSum",
    "Masked", "Objective", "OptimizerLike", "ProcessGroup", "Setup", "StepEvent", "TrainSettings",
    "TrainSetup", "TrainState", "Trainable", "TrainedModel", "autocast", "build_objective",
    "build_optimizer", "compile_objective", "gather_full", "is_main_process", "load", "logits_nats",
    "muon_precision", "parameter_kinds", "precision_name", "read_run", "resolve_inputs",
    "save_weights", "set_matmul_precision", "setup", "setup_on_random_tokens", "shard_parameters",
    "tokens_per_piece", "torch_generator", "torchrun_store", "train", "train_settings",
    "train_step", "warm_up",
]  # fmt: skip
