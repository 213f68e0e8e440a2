"""One run from start to end, in a process of its own: `python -m bench.execution.worker RUN.json FOLDER`."""

import contextlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock

from architectures.interface import Unsupported
from bench import data, evaluation, planning
from bench.config.errors import UserError
from bench.config.identity import identity
from bench.config.schema import Run, run_from_dict
from bench.data import Blocks, Corpus
from bench.evaluation import regret, suite
from bench.execution import finalize
from bench.execution.finalize import TrainingSummary
from bench.model import language_model as model
from bench.model.sizing import build_sized_model
from bench.planning import budget
from bench.records import source, store
from bench.system import signals
from bench.system.files import remove_stale_temp, write_error_message
from bench.system.processes import EXIT_NOT_RECORDED, PROGRESS_PREFIX
from bench.training import checkpoint, compilation, distributed, loop, objective, optimizer
from bench.training.checkpoint import Checkpointer, TrainState
from bench.training.loop import TrainSettings
from bench.training.objective import Objective
from bench.training.optimizer import OptimizerLike
from bench.training.run_setup import Setup, setup

Say = Callable[[str], None]


def train_and_score(run: Run, folder: Path, say: Say) -> None:
    """Train, score and record one run. Raises UserError before training, Diverged in it, Unsupported where it cannot be."""
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # numbers near zero would cost a hundred times as much
    corpus = data.prepare(run.data, run.names["data"], say)
    trained = setup(run, corpus)
    plan, asked, blocks = trained.settings, trained.objective, trained.blocks
    suite.check_protocol_supported(trained.model, run, corpus)
    budget.require_plan(run)
    planning.require_search(run)
    digests = {
        "data": corpus.digest,
        "text": corpus.facts["text_digest"],
        "order": blocks.digest(plan.steps),
    }
    origin = digests | {"source": source.training_source(), "config": identity(run)}
    origin |= {
        "device": plan.device.type,
        "precision": loop.precision_name(plan),
    }  # `auto` may mean another one elsewhere
    plan.group.agree(origin)
    if plan.group.first:
        store.add_provenance(folder, digests, corpus.facts)
    compilation.compile_objective(asked, plan, run.data.cache)
    warms = (
        plan.compile != "none" or plan.device.type == "cuda"
    )  # there libraries are loaded and kernels chosen, seconds of it
    compiling = compilation.warm_up(asked, plan, blocks.at(0)) if warms else None
    distributed.shard_parameters(asked, plan.group)
    fitted = fit(asked, blocks, corpus, run, plan, folder, say, origin)
    if plan.group.sharded:
        asked = gather_model(run, trained, corpus.vocabulary.size)
    plan.group.leave()
    if plan.group.first:
        finalize.finalize(
            asked,
            corpus,
            run,
            replace(plan, group=distributed.SINGLE_PROCESS),
            folder,
            fitted,
            compiling,
        )


def gather_model(run: Run, setup: Setup, vocabulary: int) -> Objective:
    """The objective of the whole model, of which each process holds shards. All of them have to call it."""
    states = distributed.gather_full(setup.model.state_dict())
    language_model = build_sized_model(run, vocabulary, setup.settings.device)
    language_model.load_state_dict(states)
    return objective.build_objective(run.objective, language_model)


def fit(
    asked: Objective,
    blocks: Blocks,
    corpus: Corpus,
    run: Run,
    plan: TrainSettings,
    folder: Path,
    say: Say,
    origin: dict[str, str],
) -> TrainingSummary:
    """Train to the plan's end, from the checkpoint where there is one, writing the curve and checkpoints as it goes."""
    chosen_optimizer = optimizer.build_optimizer(asked, run.optimizer, plan.learning_rate)
    first = resume(folder, asked, chosen_optimizer, origin, say, plan.group)
    look = evaluation.spread_blocks(corpus.parts["validation"], run.size.context)
    tokens = run.train.batch * run.size.context

    def save(place: TrainState) -> None:
        store.flush_curve(folder)
        checkpoint.save_train_state(
            folder / "checkpoint", place, asked, chosen_optimizer, origin, plan.group
        )

    keeper = Checkpointer(save, run.train.checkpoint_seconds, first, plan.group)
    steps = loop.train(
        asked, chosen_optimizer, blocks, plan, first.step, lambda: evaluation.validation_nats(asked, look, plan),
        after=lambda step, unlogged: keeper.after(step, unlogged, step == plan.steps), unlogged=first.unlogged,
    )  # fmt: skip
    with signals.defer_stop():
        for step in steps:
            if not plan.group.first:
                continue
            row = {name: value for name, value in step._asdict().items() if value is not None}
            store.append_curve(folder, row | {"seconds": round(keeper.seconds(), 3)})
            taken = keeper.seconds() - first.seconds
            say(
                progress_line(
                    step, plan, (step.step - first.step) * tokens / taken, taken, first.step
                )
            )
    targets = sum(row.get("targets", math.nan) for row in store.read_curve(folder))
    return TrainingSummary(round(keeper.seconds(), 3), plan.steps * tokens, targets)


def resume(
    folder: Path,
    asked: Objective,
    optimizer: OptimizerLike,
    origin: dict[str, str],
    say: Say,
    team: distributed.ProcessGroup,
) -> TrainState:
    """Where training stands by its checkpoint. The first of a team looks first: it sets aside what can not be used."""
    if not team.first:
        team.wait()
    place = checkpoint.load_train_state(folder / "checkpoint", asked, optimizer, origin, say)
    if team.first:
        store.truncate_curve(folder, place.step)
        team.wait()
    team.agree({"checkpoint": place})
    return place


def progress_line(
    step: loop.LoggedStep, plan: TrainSettings, rate: float, seconds: float, first: int
) -> str:
    """One line: how far, how fast, how good, how long still. The mark in front says that the next one may replace it."""
    left = seconds / (step.step - first) * (plan.steps - step.step)
    done = f"{PROGRESS_PREFIX}{step.step:,}/{plan.steps:,} steps"
    return f"{done} · {rate:,.0f} tokens/s · {step.nats:.3f} nats · {left // 60:.0f}:{left % 60:02.0f} left"


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

    try:
        signals.install_stop_handlers()
        if not distributed.is_main_process():
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
        say(model.describe_error(ended))
        return 4
    except loop.Diverged:
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
    except loop.Diverged as reason:
        store.write_result(folder, "failed", str(reason), facts={"diverged": reason.step})
        return 4
    except (
        SystemExit
    ) as ended:  # of the architecture's: code 0 would pass for an end that went well
        store.write_result(folder, "failed", model.describe_error(ended))
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
