"""One run from start to end, in a process of its own: `python -m bench.execution.worker RUN.json FOLDER`."""

import contextlib
import json
import logging
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
from bench.execution import finalize
from bench.execution.finalize import TrainingSummary
from bench.model import build_sized_model, describe_error
from bench.planning import budget
from bench.records import source, store
from bench.system import signals
from bench.system.files import remove_stale_temp, write_error_message
from bench.system.processes import EXIT_NOT_RECORDED
from bench.training import (
    SINGLE_PROCESS,
    Checkpointer,
    Diverged,
    LoggedStep,
    Objective,
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
Say = Callable[[str], None]


def train_and_score(run: Run, folder: Path, say: Say) -> None:
    """Train, score and record one run. Raises UserError before training, Diverged in it, Unsupported where it cannot be."""
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # numbers near zero would cost a hundred times as much
    corpus = data.prepare(run.data, run.names["data"])
    trained = setup(run, corpus)
    settings, objective, group = trained.settings, trained.objective, trained.group
    suite.check_protocol_supported(trained.model, run, corpus)
    budget.require_plan(run)
    planning.require_search(run)
    digests = {
        "data": corpus.digest,
        "text": corpus.facts["text_digest"],
        "order": trained.blocks.digest(settings.steps),
    }
    # `auto` may mean another device or precision elsewhere
    chosen = {"device": settings.device.type, "precision": precision_name(settings)}
    sources = source.training_source(str(run.arch["_target_"]))
    origin = digests | {"source": sources, "config": identity(run)} | chosen
    group.check_consistent(origin)
    if group.is_main:
        store.add_provenance(folder, digests, corpus.facts)
    compile_objective(objective, settings, run.data.cache)
    # on CUDA, too: loading libraries and choosing kernels takes seconds
    warms = settings.compile != "none" or settings.device.type == "cuda"
    compiling = warm_up(objective, settings, trained.blocks) if warms else None
    shard_parameters(objective, group)
    fitted = fit(trained, corpus, run, folder, origin)
    if group.sharded:
        objective = gather_model(run, trained, corpus.vocabulary.size)
    group.destroy()
    if group.is_main:
        alone = replace(settings, group=SINGLE_PROCESS)
        finalize.finalize(objective, corpus, run, alone, folder, fitted, compiling)


def gather_model(run: Run, setup: Setup, vocabulary: int) -> Objective:
    """Return the objective with full weights, gathered from the shards. A collective."""
    states = gather_full(setup.model.state_dict())
    language_model = build_sized_model(run, vocabulary, setup.settings.device)
    language_model.load_state_dict(states)
    return build_objective(run.objective, language_model)


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
    """0: done or skipped. 2: could not start. 3: asked to stop. 4: failed. 5: could not write. All but 3 and 5 are in the record.

    Python's own 1, for a traceback, is not among them: whoever started this process then records the death.
    """
    try:
        asked, folder = (
            run_from_dict(json.loads(Path(arguments[0]).read_text(encoding="utf-8"))),
            Path(arguments[1]),
        )
    except (IndexError, OSError, ValueError, AttributeError, TypeError):
        print(
            "error: no run is named: python -m bench.execution.worker RUN.json FOLDER is what python -m bench.run starts",
            file=sys.stderr,
        )
        return 2

    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the parent is gone
            print(line, file=sys.stderr, flush=True)

    setup_logging(in_worker=True)
    try:
        signals.install_stop_handlers()
        if not is_main_process():
            return run_rank(asked, folder, say)
        with FileLock(
            folder / ".lock"
        ):  # one that lost its parent may still be writing its checkpoint
            return run_and_record(asked, folder, say)
    except signals.StopRequested:
        return signals.EXIT_STOPPED
    except OSError as error:
        say(write_error_message(error, folder))
        return EXIT_NOT_RECORDED
    finally:
        signals.ignore_stop()


def run_rank(asked: Run, folder: Path, say: Say) -> int:
    """Train as one of those whose first writes the record, and says there why it came to no end; returns the exit code."""
    try:
        train_and_score(asked, folder, lambda line: None)
    except Unsupported:
        return 0
    except UserError as mistake:
        say(str(mistake))
        return 2
    except SystemExit as ended:
        say(describe_error(ended))
        return 4
    except Diverged:
        return 4
    return 0


def run_and_record(asked: Run, folder: Path, say: Say) -> int:
    """Run, and record why where that does not come to its end; returns the exit code."""
    for place in (folder, folder / "checkpoint"):
        remove_stale_temp(place)
    try:
        train_and_score(asked, folder, say)
    except Unsupported as reason:
        store.write_result(folder, "skipped", str(reason))
    except UserError as mistake:
        store.write_result(folder, "failed", str(mistake), facts={"started": False})
        return 2
    except Diverged as reason:
        store.write_result(folder, "failed", str(reason), facts={"diverged": reason.step})
        return 4
    except (
        SystemExit
    ) as ended:  # of the architecture's: code 0 would pass for an end that went well
        store.write_result(folder, "failed", describe_error(ended))
        return 4
    except (regret.LeakDetected, finalize.StaleWeights) as reason:
        store.write_result(folder, "failed", str(reason))
        return 4
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # torch has no class of its own for a processor's memory
        line = str(error).partition("\n")[0]
        if (
            not isinstance(error, (MemoryError, torch.OutOfMemoryError))
            and "can't allocate memory" not in line
        ):
            raise
        store.write_result(folder, "failed", f"out of memory: {line}")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
