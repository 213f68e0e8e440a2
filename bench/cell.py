"""One run from start to end, in a process of its own: `python -m bench.cell RUN.json FOLDER`."""

import contextlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock

from architectures.interface import Unsupported
from bench import checkpoint, compilation, contract, data, evaluate, model, objective, optimizer, record, stop, train
from bench.checkpoint import Keeper, Place
from bench.config import Mistake, Run, from_plain
from bench.data import Blocks, Corpus
from bench.disk import sweep_up, unwritable, whole
from bench.generate import continue_text
from bench.identity import identity
from bench.launch import PROGRESS, UNWRITTEN
from bench.metric import Metric
from bench.objective import Objective
from bench.train import Plan

Say = Callable[[str], None]


class Fitted(NamedTuple):
    """What training leaves behind."""

    seconds: float
    tokens: int


def run(run: Run, folder: Path, say: Say) -> None:
    """Train, score and record one run. Raises Mistake before training, Diverged in it, Unsupported where it cannot be."""
    plan = train.plan(run)
    compilation.check(plan)
    train.settle(plan)
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # numbers near zero would cost a hundred times as much
    corpus = data.prepare(run.data, run.names["data"], say)
    corpus.check(run.size.context)
    width, language_model = made(run, corpus, plan)
    asked = objective.build(run.objective, language_model)
    blocks = Blocks(corpus.parts["train"].tokens, run.size.context, run.train.batch, run.seed)
    digests = {"data": corpus.digest, "text": corpus.facts["text_digest"], "order": blocks.digest(plan.steps)}
    record.note(folder, digests, corpus.facts)
    origin = digests | {"source": record.training_source(), "config": identity(run)}
    compilation.prepare(asked, plan, run.data.cache)
    compiling = compilation.first_pass(asked, plan, blocks.at(0)) if plan.compile != "none" else None
    fitted = fit(asked, blocks, corpus, run, plan, folder, say, origin)
    checkpoint.save_weights(folder / "checkpoint", language_model, corpus.vocabulary, width)
    score = scored(asked, corpus, run, plan)
    if not all(math.isfinite(value) for metric in score.metrics for value in metric.values):
        raise train.Diverged(plan.steps)
    if score.documents is not None:
        with whole(folder / "documents.parquet") as neighbour:
            score.documents.to_parquet(neighbour, index=False)
    wrote = sample(asked, corpus, run)
    if wrote:
        record.write_atomically(folder / "text.txt", wrote)
    looks = evaluate.look_bytes(asked, corpus.parts["validation"], corpus.vocabulary, run.size.context)
    metrics = [*score.metrics, *looks, *sizes(language_model, run), *costs(fitted, compiling)]
    facts = {"objective": asked.name, "protocol": score.protocol, "part": corpus.scored, "width": width} | chosen(plan)
    record.finish(folder, "done", metrics=metrics, facts=facts)
    record.tidy(folder)


def made(run: Run, corpus: Corpus, plan: Plan) -> tuple[int, model.LanguageModel]:
    """The model at its solved width, checked to be what it says. Raises Mistake."""
    size = corpus.vocabulary.size
    width = model.solve_width(run.arch, run.size.parameters, run.size.context, size)
    language_model = model.build(run.arch, width, run.size.context, size, seed=run.seed)
    contract.check_before_training(language_model)
    return width, language_model.to(plan.device)


def fit(
    asked: Objective, blocks: Blocks, corpus: Corpus, run: Run, plan: Plan, folder: Path, say: Say, origin: dict[str, str]
) -> Fitted:
    """Train to the plan's end, from the checkpoint where there is one, writing the curve and checkpoints as it goes."""
    chosen_optimizer = optimizer.build(asked, run.optimizer, plan.learning_rate)
    first = checkpoint.resume(folder / "checkpoint", asked, chosen_optimizer, origin, say)
    record.cut_curve(folder, first.step)
    look = evaluate.spread_blocks(corpus.parts["validation"], run.size.context)
    tokens = run.train.batch * run.size.context

    def save(place: Place) -> None:
        record.settle_curve(folder)
        checkpoint.save_training(folder / "checkpoint", place, asked, chosen_optimizer, origin)

    keeper = Keeper(save, run.train.checkpoint_seconds, first)
    steps = train.train(
        asked, chosen_optimizer, blocks, plan, first.step, lambda: evaluate.validation_nats(asked, look, plan),
        after=lambda step, unlogged: keeper.after(step, unlogged, step == plan.steps), unlogged=first.unlogged,
    )  # fmt: skip
    with stop.later():
        for step in steps:
            row = {name: value for name, value in step._asdict().items() if value is not None}
            record.log(folder, row | {"seconds": round(keeper.seconds(), 3)})
            taken = keeper.seconds() - first.seconds
            say(progress(step, plan, (step.step - first.step) * tokens / taken, taken, first.step))
    return Fitted(round(keeper.seconds(), 3), plan.steps * tokens)


def progress(step: train.Step, plan: Plan, rate: float, seconds: float, first: int) -> str:
    """One line: how far, how fast, how good, how long still. The mark in front says that the next one may replace it."""
    left = seconds / (step.step - first) * (plan.steps - step.step)
    done = f"{PROGRESS}{step.step:,}/{plan.steps:,} steps"
    return f"{done} · {rate:,.0f} tokens/s · {step.nats:.3f} nats · {left // 60:.0f}:{left % 60:02.0f} left"


def scored(asked: Objective, corpus: Corpus, run: Run, plan: Plan) -> evaluate.Score:
    """The score on held-out text, by what the objective allows."""
    part, context = corpus.parts[corpus.scored], run.size.context
    if asked.model.backbone.causal:
        return evaluate.likelihood(asked, part, corpus.vocabulary, context, plan)
    return evaluate.pseudo_likelihood(asked, part, corpus.vocabulary, context, plan, run.evaluate.pseudo_positions)


def sample(asked: Objective, corpus: Corpus, run: Run) -> str:
    """What the model writes after the prompt; nothing for one that cannot."""
    settings = run.evaluate
    if not asked.model.backbone.causal or not settings.sample_tokens:
        return ""
    asked.eval()
    try:
        return settings.prompt + continue_text(
            asked.model, corpus.vocabulary, settings.prompt, settings.sample_tokens, settings.temperature, run.seed
        )
    except Unsupported:
        return ""


def sizes(language_model: model.LanguageModel, run: Run) -> list[Metric]:
    """Parameters four ways, the width, how much of the budget is left, and the FLOPs of a token by formula."""
    counts = model.count(language_model)
    metrics = [Metric(name, "parameters", "lower", (float(number),)) for name, number in counts.items()]
    slack = 1 - counts["parameters"] / run.size.parameters
    width = Metric("width", "channels", "neither", (float(language_model.backbone.width),))
    flops = Metric(
        "flops_per_token", "FLOPs/token", "lower", (float(language_model.flops(run.size.context)),), "forward, by formula"
    )
    return [*metrics, width, Metric("budget_slack", "share", "lower", (slack,)), flops]


def costs(fitted: Fitted, compiling: float | None) -> list[Metric]:
    """What training took, and what compiling took before it, where it was asked for."""
    note = "wall clock; not comparable: runs may share the machine"
    return [
        *([] if compiling is None else [Metric("compile_seconds", "s", "lower", (compiling,), note)]),
        Metric("train_seconds", "s", "lower", (fitted.seconds,), note),
        Metric("tokens_seen", "tokens", "neither", (float(fitted.tokens),)),
    ]


def chosen(plan: Plan) -> dict[str, Any]:
    """What was decided on the spot."""
    chosen = {"device": str(plan.device), "precision": train.precision_name(plan), "learning_rate": plan.learning_rate}
    return chosen if plan.compile == "none" else chosen | {"compile": plan.compile}


def main(arguments: list[str]) -> int:
    """0: done or skipped. 2: could not start. 3: asked to stop. 4: failed. 5: could not write. All but 3 and 5 are in the record.

    Python's own 1, for a traceback, is not among them: whoever started this process then records the death.
    """
    asked = from_plain(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    folder = Path(arguments[1])

    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the parent is gone
            print(line, file=sys.stderr, flush=True)

    try:
        stop.listen()
        with FileLock(folder / ".lock"):  # one that lost its parent may still be writing its checkpoint
            return recorded(asked, folder, say)
    except stop.Stopped:
        return stop.STOPPED
    except OSError as error:
        say(unwritable(error, folder))
        return UNWRITTEN


def recorded(asked: Run, folder: Path, say: Say) -> int:
    """Run, and record why where that does not come to its end; returns the exit code."""
    for place in (folder, folder / "checkpoint"):
        sweep_up(place)
    try:
        run(asked, folder, say)
    except Unsupported as reason:
        record.finish(folder, "skipped", str(reason))
    except Mistake as mistake:
        record.finish(folder, "failed", str(mistake), facts={"started": False})
        return 2
    except train.Diverged as reason:
        record.finish(folder, "failed", str(reason))
        return 4
    except (MemoryError, RuntimeError) as error:  # torch has no class of its own for a processor's memory
        line = str(error).partition("\n")[0]
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "can't allocate memory" not in line:
            raise
        record.finish(folder, "failed", f"out of memory: {line}")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
