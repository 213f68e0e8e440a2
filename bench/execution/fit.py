"""Train one run to its last step, writing its curve and its checkpoints."""

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import evaluation
from bench.config.identity import identity
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK
from bench.data import Corpus
from bench.execution.finalize import TrainingSummary
from bench.model import unchanged_process
from bench.records import source, store
from bench.system import signals
from bench.system.processes import announce_estimate
from bench.training import (
    Checkpointer,
    LoggedStep,
    OptimizerLike,
    Setup,
    StepEvent,
    TrainSetup,
    TrainState,
    build_optimizer,
    muon_precision,
    precision_name,
    train,
)

logger = logging.getLogger(__name__)


def fit(
    setup: TrainSetup,
    run: Run,
    folder: Path,
    origin: dict[str, str],
    validate: Callable[[], float],
) -> TrainingSummary:
    """Train to the last step, from the checkpoint if there is one. Raises InvalidRun.

    `validate` returns the loss on held-out data, in nats.
    """
    objective, settings = setup.objective, setup.settings
    optimizer = build_optimizer(objective, run.optimizer, settings.learning_rate)
    states, every = folder / "checkpoint", run.train.checkpoint_seconds
    checkpoints = Checkpointer(states, objective, optimizer, origin, settings, every)
    start = resume(checkpoints)
    announce_estimate(0.0)  # until the first step tells how long the others take
    due = partial(announce_and_save, checkpoints)
    with unchanged_process(type(setup.model.backbone).__name__), signals.defer_stop():
        for event in train(objective, optimizer, setup.blocks, settings, start, due):
            if event.log is not None:
                log_event(event, event.log, validate, checkpoints)
            if event.checkpoint_due:
                checkpoints.save(event)
    return TrainingSummary(
        round(checkpoints.seconds(), 3),
        setup.blocks.tokens_seen(settings.steps),
        counted_targets(folder),
        optimizer_facts(optimizer),
    )


def announce_and_save(checkpoints: Checkpointer, step: int) -> bool:
    """Return whether the state is to be saved; tell, now and then, how long the rest takes."""
    if step == checkpoints.start.step + 1 or checkpoints.settings.logging_due(step):
        announce_estimate(seconds_left(checkpoints, step))
    return checkpoints.due(step)


def seconds_left(checkpoints: Checkpointer, step: int) -> float:
    """Return how long the steps after this one take, at the speed of those since the start."""
    start = checkpoints.start
    seconds = checkpoints.seconds() - start.seconds
    return seconds / (step - start.step) * (checkpoints.settings.steps - step)


def counted_targets(folder: Path) -> float:
    """Return the tokens with a loss of all steps; NaN where the curve does not say."""
    return sum(row.get("targets", math.nan) for row in store.read_curve(folder))


def optimizer_facts(optimizer: OptimizerLike) -> dict[str, str]:
    """Return what an optimizer decided on this machine: the precision of Muon."""
    precision = muon_precision(optimizer)
    return {"muon_precision": precision} if precision else {}


def resume(checkpoints: Checkpointer) -> TrainState:
    """Load the checkpoint on all ranks; rank 0 first, as it sets aside one that cannot be used."""
    group = checkpoints.settings.group
    if not group.is_main:
        group.barrier()
    state = checkpoints.resume()
    if group.is_main:
        store.write_text(checkpoints.folder.parent / "curve.jsonl", state.curve)
        group.barrier()
    group.check_consistent({"checkpoint": state})
    return state


def recipe_origin(run: Run, setup: TrainSetup) -> dict[str, str]:
    """Return what a checkpoint has to agree with besides its data."""
    is_task = run.task.kind != NO_TASK
    return {
        "source": source.training_source(str(run.arch["_target_"]), is_task),
        "config": identity(run),
        # `auto` may mean another device or precision elsewhere
        "device": setup.settings.device.type,
        "precision": precision_name(setup.settings),
    }


def validation_loss(setup: Setup, corpus: Corpus) -> float:
    """Return the loss on fixed blocks of the validation part, in nats per target."""
    blocks = evaluation.spread_blocks(corpus.parts["validation"], setup.model.backbone.context)
    return evaluation.validation_nats(setup.objective, blocks, setup.settings)


def log_event(
    event: StepEvent, step: LoggedStep, validate: Callable[[], float], checkpoints: Checkpointer
) -> None:
    """Validate if that is due, append a row to the curve, and log one line of progress."""
    if event.validation_due:
        step = step._replace(validation_nats=validate())
    if checkpoints.settings.group.is_main:
        values = step._asdict().items()
        row = {name: value for name, value in values if value is not None and value == value}
        row["seconds"] = round(checkpoints.seconds(), 3)
        checkpoints.curve.append(store.append_curve(checkpoints.folder.parent, row))
        log_progress(step, checkpoints.settings.steps, checkpoints)


def log_progress(step: LoggedStep, last: int, checkpoints: Checkpointer) -> None:
    """Log one line: steps, speed, loss, time left."""
    seconds = checkpoints.seconds() - checkpoints.start.seconds
    steps = step.step - checkpoints.start.step
    rate = steps * step.tokens / step.step / seconds
    left = seconds_left(checkpoints, step.step)
    logger.info(
        f"{step.step:,}/{last:,} steps · {rate:,.0f} tokens/s · {step.nats:.3f} nats "
        f"· {left // 60:.0f}:{left % 60:02.0f} left",
        extra={"progress": True},
    )
