"""Train, score and record one run: `python -m bench.execution.worker RUN.json FOLDER`."""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from architectures.interface import Unsupported
from bench import data, planning
from bench.cli.console import setup_logging
from bench.config.errors import InvalidRun, UserError
from bench.config.schema import Run, run_from_dict
from bench.config.task_schema import NO_TASK
from bench.data import Corpus
from bench.evaluation import suite
from bench.execution.finalize import finalize, scoring_seconds
from bench.execution.finetune import finetune_and_score
from bench.execution.fit import fit, recipe_origin, validation_loss
from bench.model import build_sized_model, describe_error
from bench.planning import budget
from bench.records import store
from bench.records.finished import recorded_bases
from bench.system import exits, signals
from bench.system.files import remove_stale_temp, write_error_message
from bench.system.memory import is_out_of_memory
from bench.system.processes import EXIT_NOT_RECORDED, announce_estimate
from bench.tasks.preferences import learning
from bench.training import (
    SINGLE_PROCESS,
    Diverged,
    Setup,
    build_objective,
    compile_objective,
    gather_full,
    is_main_process,
    setup,
    shard_parameters,
    warm_up,
)

logger = logging.getLogger(__name__)
EXIT_CANNOT_START, EXIT_FAILED = 2, 4


def train_and_score(run: Run, folder: Path) -> None:
    """Train, score and record one run.

    Raises UserError before training, Unsupported if the architecture cannot do what is requested,
    Diverged and InvalidRun.
    """
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # denormal numbers would take a hundred times as long
    if run.task.kind != NO_TASK:
        finetune_and_score(run, folder)
    elif not run.preference.enabled:
        pretrain(run, folder)
    elif is_main_process():
        learning.learn(run, recorded_bases(folder), folder)


def pretrain(run: Run, folder: Path) -> None:
    """Train a run on its text from initial weights, and score it."""
    corpus = data.prepare(run.data, run.names["data"])
    announce_estimate(0.0)
    trained = setup(run, corpus)
    settings, group = trained.settings, trained.group
    suite.check_protocol_supported(trained.model, run, corpus)
    budget.require_plan(run)
    planning.require_search(run)
    origin = record_origin(run, folder, corpus, trained)
    compiling = compile_and_warm_up(trained, run)
    shard_parameters(trained.objective, group)
    summary = fit(trained, run, folder, origin, lambda: validation_loss(trained, corpus))
    summary = summary._replace(compile_seconds=compiling)
    if group.sharded:
        trained = gather_model(run, trained, corpus.vocabulary.size)
    group.destroy()
    if group.is_main:
        announce_estimate(scoring_seconds(corpus, run, summary))
        alone = replace(settings, group=SINGLE_PROCESS)
        finalize(replace(trained, settings=alone), corpus, run, folder, summary)


def compile_and_warm_up(setup: Setup, run: Run) -> float | None:
    """Compile if requested; return the seconds that it, or choosing CUDA kernels, takes."""
    settings = setup.settings
    compile_objective(setup.objective, settings, run.data.cache)
    if settings.compile == "none" and settings.device.type != "cuda":
        return None
    return warm_up(setup.objective, settings, setup.blocks)


def record_origin(run: Run, folder: Path, corpus: Corpus, setup: Setup) -> dict[str, str]:
    """Record the digests of the data; return all that a checkpoint has to agree with."""
    digests = {
        "data": corpus.digest,
        "text": corpus.facts["text_digest"],
        "order": setup.blocks.digest(setup.settings.steps),
    }
    origin = digests | recipe_origin(run, setup)
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
        if not (folder / "config.yaml").exists():
            logger.warning(f"{folder} was removed while its run trained: give the command again")
        else:
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
    for place in (folder, *filter(Path.is_dir, folder.rglob("*"))):
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
        case InvalidRun():
            return EXIT_FAILED, str(error), {"code": error.code}
        case MemoryError() | RuntimeError() if is_out_of_memory(error):
            line = str(error).partition("\n")[0]
            return EXIT_FAILED, f"out of memory: {line}", {}
    raise error


if __name__ == "__main__":
    exits.end_process(main(sys.argv[1:]))
