"""Train, score and record one run: `python -m bench.execution.worker RUN.json FOLDER`."""

import json
import logging
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from architectures.interface import Unsupported
from bench import data, evaluation, planning
from bench.cli.console import setup_logging
from bench.config.errors import UserError
from bench.config.identity import identity
from bench.config.schema import Run, run_from_dict
from bench.data import Corpus
from bench.evaluation import regret, suite
from bench.execution.finalize import StaleWeights, TrainingSummary, finalize
from bench.model import build_sized_model, describe_error
from bench.planning import budget
from bench.records import source, store
from bench.system import signals
from bench.system.files import remove_stale_temp, write_error_message
from bench.system.memory import is_out_of_memory
from bench.system.processes import EXIT_NOT_RECORDED
from bench.training import (
    SINGLE_PROCESS,
    Checkpointer,
    Diverged,
    LoggedStep,
    Setup,
    TrainSettings,
    TrainState,
    build_objective,
    build_optimizer,
    compile_objective,
    gather_full,
    is_main_process,
    precision_name,
    setup,
    shard_parameters,
    train,
    warm_up,
)

logger = logging.getLogger(__name__)
EXIT_CANNOT_START, EXIT_FAILED = 2, 4


def train_and_score(run: Run, folder: Path) -> None:
    """Train, score and record one run.

    Raises UserError before training, Unsupported if the architecture cannot do what is requested,
    Diverged, LeakDetected and StaleWeights.
    """
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # denormal numbers would take a hundred times as long
    corpus = data.prepare(run.data, run.names["data"])
    trained = setup(run, corpus)
    settings, group = trained.settings, trained.group
    suite.check_protocol_supported(trained.model, run, corpus)
    budget.require_plan(run)
    planning.require_search(run)
    origin = record_origin(run, folder, corpus, trained)
    compile_objective(trained.objective, settings, run.data.cache)
    # on CUDA, too: loading libraries and choosing kernels takes seconds
    warms = settings.compile != "none" or settings.device.type == "cuda"
    compiling = warm_up(trained.objective, settings, trained.blocks) if warms else None
    shard_parameters(trained.objective, group)
    summary = fit(trained, corpus, run, folder, origin)._replace(compile_seconds=compiling)
    if group.sharded:
        trained = gather_model(run, trained, corpus.vocabulary.size)
    group.destroy()
    if group.is_main:
        alone = replace(settings, group=SINGLE_PROCESS)
        finalize(replace(trained, settings=alone), corpus, run, folder, summary)


def record_origin(run: Run, folder: Path, corpus: Corpus, setup: Setup) -> dict[str, str]:
    """Record the digests of the data; return all that a checkpoint has to agree with."""
    digests = {
        "data": corpus.digest,
        "text": corpus.facts["text_digest"],
        "order": setup.blocks.digest(setup.settings.steps),
    }
    origin = digests | {
        "source": source.training_source(str(run.arch["_target_"])),
        "config": identity(run),
        # `auto` may mean another device or precision elsewhere
        "device": setup.settings.device.type,
        "precision": precision_name(setup.settings),
    }
    setup.group.check_consistent(origin)
    if setup.group.is_main:
        store.add_provenance(folder, digests, corpus.facts)
    return origin


def gather_model(run: Run, setup: Setup, vocabulary: int) -> Setup:
    """Return the setup with full weights, gathered from the shards. A collective."""
    states = gather_full(setup.model.state_dict())
    model = build_sized_model(run, vocabulary, setup.settings.device)
    model.load_state_dict(states)
    return replace(setup, model=model, objective=build_objective(run.objective, model))


def fit(
    setup: Setup, corpus: Corpus, run: Run, folder: Path, origin: dict[str, str]
) -> TrainingSummary:
    """Train to the last step, from the checkpoint if there is one; write curve and checkpoints."""
    objective, settings, group = setup.objective, setup.settings, setup.group
    optimizer = build_optimizer(objective, run.optimizer, settings.learning_rate)
    seconds = run.train.checkpoint_seconds
    checkpoints = Checkpointer(
        folder / "checkpoint", objective, optimizer, origin, settings, seconds
    )
    start = resume(checkpoints, folder)
    look = evaluation.spread_blocks(corpus.parts["validation"], run.size.context)
    steps = train(objective, optimizer, setup.blocks, settings, start, checkpoints.due)
    with signals.defer_stop():
        for event in steps:
            if event.log is not None:
                logged = event.log
                if event.validation_due:
                    nats = evaluation.validation_nats(objective, look, settings)
                    logged = logged._replace(validation_nats=nats)
                if group.is_main:
                    log_step(folder, logged, settings, checkpoints)
            if event.checkpoint_due:
                store.flush_curve(folder)
                checkpoints.save(event)
    targets = sum(row.get("targets", math.nan) for row in store.read_curve(folder))
    tokens = settings.steps * run.train.batch * run.size.context
    return TrainingSummary(round(checkpoints.seconds(), 3), tokens, targets)


def resume(checkpoints: Checkpointer, folder: Path) -> TrainState:
    """Load the checkpoint on all ranks; rank 0 first, as it sets aside one that cannot be used."""
    group = checkpoints.settings.group
    if not group.is_main:
        group.barrier()
    state = checkpoints.resume()
    if group.is_main:
        store.truncate_curve(folder, state.step)
        group.barrier()
    group.check_consistent({"checkpoint": state})
    return state


def log_step(
    folder: Path, logged: LoggedStep, settings: TrainSettings, checkpoints: Checkpointer
) -> None:
    """Append a row to the curve, and log one line: progress, speed, loss, time left."""
    row = {name: value for name, value in logged._asdict().items() if value is not None}
    store.append_curve(folder, row | {"seconds": round(checkpoints.seconds(), 3)})
    seconds = checkpoints.seconds() - checkpoints.start.seconds
    steps = logged.step - checkpoints.start.step
    rate = steps * logged.tokens / logged.step / seconds
    left = seconds / steps * (settings.steps - logged.step)
    logger.info(
        f"{logged.step:,}/{settings.steps:,} steps · {rate:,.0f} tokens/s · {logged.nats:.3f} nats "
        f"· {left // 60:.0f}:{left % 60:02.0f} left",
        extra={"progress": True},
    )


def main(arguments: list[str]) -> int:
    """Run as a process of its own; return the exit code.

    0: done or skipped. 2: cannot start. 3: stopped. 4: failed. 5: cannot write. All but 3 and 5 are
    recorded. Python's own 1, after a traceback, is recorded by the process that started this one.
    """
    setup_logging(in_worker=True)
    try:
        run = run_from_dict(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
        folder = Path(arguments[1])
    except (IndexError, OSError, ValueError, AttributeError, TypeError):
        logger.error("no run is given: python -m bench.run starts workers, with RUN.json FOLDER")
        return EXIT_CANNOT_START
    try:
        signals.install_stop_handlers()
        if not is_main_process():
            logging.getLogger("bench").setLevel(logging.WARNING)
            return run_rank(run, folder)
        with FileLock(folder / ".lock"):  # a worker that lost its parent may still be saving
            return run_and_record(run, folder)
    except signals.StopRequested:
        return signals.EXIT_STOPPED
    except OSError as error:
        logger.warning(write_error_message(error, folder))
        return EXIT_NOT_RECORDED
    finally:
        signals.ignore_stop()


def run_rank(run: Run, folder: Path) -> int:
    """Train as a rank other than 0, which records the run; return the exit code."""
    try:
        train_and_score(run, folder)
    except Unsupported:
        return 0
    except BaseException as error:
        code, reason, _ = failure(error)
        if not isinstance(error, Diverged):  # then all ranks diverge, and rank 0 records it
            logger.warning(reason)
        return code
    return 0


def run_and_record(run: Run, folder: Path) -> int:
    """Train and score a run, and record why if that fails; return the exit code."""
    for place in (folder, folder / "checkpoint"):
        remove_stale_temp(place)
    try:
        train_and_score(run, folder)
    except Unsupported as reason:
        store.write_result(folder, "skipped", str(reason))
    except BaseException as error:
        code, message, facts = failure(error)
        store.write_result(folder, "failed", message, facts=facts)
        return code
    return 0


def failure(error: BaseException) -> tuple[int, str, dict[str, Any]]:
    """Return exit code, reason and facts of a failure; raise an error that is none of its own."""
    match error:
        case UserError():
            return EXIT_CANNOT_START, str(error), {"started": False, "code": error.code}
        case Diverged():
            return EXIT_FAILED, str(error), {"diverged": error.step}
        case SystemExit():  # of the architecture: its code 0 would pass for success
            return EXIT_FAILED, describe_error(error), {}
        case regret.LeakDetected() | StaleWeights():
            return EXIT_FAILED, str(error), {}
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            line = str(error).partition("\n")[0]
            return EXIT_FAILED, f"out of memory: {line}", {}
    raise error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
