"""One run from start to end, in a process of its own: `python -m bench.cell RUN.json FOLDER`."""

import contextlib
import ctypes
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock

from architectures.interface import Unsupported
from bench import checkpoint, contract, data, evaluate, model, objective, optimizer, record, train
from bench.config import Mistake, Run, from_plain
from bench.data import Blocks, Corpus
from bench.generate import continue_text
from bench.launch import PROGRESS
from bench.metric import Metric
from bench.objective import Objective
from bench.train import Plan

VALIDATION_BLOCKS = 64
Say = Callable[[str], None]


class Stopped(Exception):
    """The process was asked to end (SIGTERM); what was trained lies in the checkpoint."""


class Fitted(NamedTuple):
    """What training leaves behind."""

    seconds: float
    tokens: int


def run(run: Run, folder: Path, say: Say) -> None:
    """Train, score and record one run. Raises Mistake before training, Diverged in it, Unsupported where it cannot be."""
    plan = train.plan(run)
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # numbers near zero would cost a hundred times as much
    corpus = data.prepare(run.data, run.names["data"], say)
    corpus.check(run.size.context)
    width, language_model = made(run, corpus, plan)
    asked = objective.build(run.objective, language_model)
    blocks = Blocks(corpus.parts["train"].tokens, run.size.context, run.train.batch, run.seed)
    digests = {"data": corpus.digest, "text": corpus.facts["text_digest"], "order": blocks.digest(plan.steps)}
    record.note(folder, digests, corpus.facts)
    origin = digests | {"source": record.training_source()}
    fitted = fit(asked, blocks, corpus, run, plan, folder, say, origin)
    checkpoint.save_weights(folder / "checkpoint", language_model, corpus.vocabulary, width)
    score = scored(asked, corpus, run, plan)
    if not all(math.isfinite(value) for metric in score.metrics for value in metric.values):
        raise train.Diverged(plan.steps)
    if score.documents is not None:
        score.documents.to_parquet(folder / "documents.parquet", index=False)
    wrote = sample(asked, corpus, run)
    if wrote:
        record.write_atomically(folder / "text.txt", wrote)
    metrics = [*score.metrics, *sizes(language_model, run), *costs(fitted)]
    facts = {"objective": asked.name, "protocol": score.protocol, "part": corpus.scored, "width": width} | chosen(plan)
    record.finish(folder, "done", metrics=metrics, facts=facts)
    checkpoint.drop_training(folder / "checkpoint")


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
    record.cut_curve(folder, first)
    before = record.training_seconds(folder)
    look = evaluate.spread_blocks(corpus.parts["validation"], run.size.context, VALIDATION_BLOCKS)
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    began = saved = time.monotonic()
    tokens = run.train.batch * run.size.context
    for step in train.train(asked, chosen_optimizer, blocks, plan, first, lambda: evaluate.validation_nats(asked, look, plan)):
        now = time.monotonic()
        row = {name: value for name, value in step._asdict().items() if value is not None}
        record.log(folder, row | {"seconds": round(before + now - began, 3)})
        say(progress(step, plan, (step.step - first) * tokens / (now - began), now - began, first))
        if stop or now - saved > run.train.checkpoint_seconds or step.step == plan.steps:
            checkpoint.save_training(folder / "checkpoint", step.step, asked, chosen_optimizer, origin)
            saved = now
        if stop:
            raise Stopped
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Fitted(record.training_seconds(folder), plan.steps * tokens)


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
    """Parameters three ways, the width, and how much of the budget is left."""
    counts = model.count(language_model)
    metrics = [Metric(name, "parameters", "lower", (float(number),)) for name, number in counts.items()]
    slack = 1 - counts["parameters"] / run.size.parameters
    width = Metric("width", "channels", "neither", (float(language_model.backbone.width),))
    return [*metrics, width, Metric("budget_slack", "share", "lower", (slack,))]


def costs(fitted: Fitted) -> list[Metric]:
    """What training took."""
    note = "wall clock; not comparable: runs may share the machine"
    return [
        Metric("train_seconds", "s", "lower", (fitted.seconds,), note),
        Metric("tokens_seen", "tokens", "neither", (float(fitted.tokens),)),
    ]


def chosen(plan: Plan) -> dict[str, Any]:
    """What was decided on the spot."""
    precision = str(plan.precision).removeprefix("torch.")
    return {"device": str(plan.device), "precision": precision, "learning_rate": plan.learning_rate}


def die_with_parent() -> None:
    """Ask the system to end this process when the one that started it is gone: nobody else would record what it does."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def main(arguments: list[str]) -> int:
    """0: done or skipped. 2: could not start. 3: asked to stop. 4: failed. All but a stop is in the record.

    Python's own 1, for a traceback, is not among them: whoever started this process then records the death.
    """
    asked = from_plain(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    folder = Path(arguments[1])

    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the parent is gone
            print(line, file=sys.stderr, flush=True)

    die_with_parent()
    try:
        with FileLock(folder / ".lock", timeout=60):  # one that lost its parent may still be writing its checkpoint
            run(asked, folder, say)
    except Unsupported as reason:
        record.finish(folder, "skipped", str(reason))
    except Mistake as mistake:
        record.finish(folder, "failed", str(mistake), facts={"started": False})
        return 2
    except train.Diverged as reason:
        record.finish(folder, "failed", str(reason))
        return 4
    except Stopped:
        return 3
    except (MemoryError, torch.OutOfMemoryError) as error:
        record.finish(folder, "failed", f"out of memory: {str(error).splitlines()[0]}")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
