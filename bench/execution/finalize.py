"""What a trained run leaves: its weights, its score on held-out text, what it wrote, its size and its cost."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from architectures.interface import Unsupported
from bench import evaluation
from bench.config.schema import Run
from bench.data import Corpus
from bench.evaluation import suite
from bench.evaluation.generation import continue_text
from bench.model import COUNT_KEYS, LanguageModel, build_model, count_parameters
from bench.records import store
from bench.records.metrics import Metric, metric
from bench.training import (
    Diverged,
    Objective,
    TrainSettings,
    build_objective,
    precision_name,
    save_weights,
)

CHECK_BLOCKS = 4  # blocks of held-out text that a trained model and its weights in a fresh one are held against each other on
TOLERANCE, TOLERANCE_MIXED = (
    1e-3,
    1e-2,
)  # nats a token that they may differ by, in float32 and in mixed precision


class StaleWeights(Exception):
    """A trained model that does not compute what its weights say; the message is what came."""


class TrainingSummary(NamedTuple):
    """What training leaves behind."""

    seconds: float
    tokens: int
    targets: float  # tokens with a loss


def finalize(
    asked: Objective,
    corpus: Corpus,
    run: Run,
    plan: TrainSettings,
    folder: Path,
    fitted: TrainingSummary,
    compiling: float | None,
) -> None:
    """Score and record what was trained. Raises Diverged where no score comes of it, Stale where the score would be another's."""
    language_model, width = asked.model, asked.model.backbone.width
    save_weights(folder / "checkpoint", language_model, corpus.vocabulary, width)
    check_weights(asked, corpus, run, plan)
    score, windows = suite.score_model(asked, corpus, run, plan)
    if lost := evaluation.first_non_finite(score.metrics):
        raise Diverged(plan.steps, f"{lost} of the trained model")
    store.write_parquet(folder / "documents.parquet", score.documents)
    store.write_parquet(folder / "windows.parquet", windows)
    kernels = kernel_facts(
        language_model
    )  # in training and scoring: what follows may be in another precision
    wrote = sample_text(asked, corpus, run)
    if wrote:
        store.write_text(folder / "text.txt", wrote)
    looks = evaluation.validation_bytes(
        asked, corpus.parts["validation"], corpus.vocabulary, run.size.context
    )
    metrics = [
        *score.metrics,
        *looks,
        *size_metrics(language_model, run),
        *cost_metrics(fitted, compiling),
    ]
    facts = {
        "objective": asked.name,
        "protocol": score.protocol,
        "part": corpus.scored,
        "width": width,
    } | settings_facts(plan)
    facts |= (
        {"ranks": run.train.ranks, "sharding": run.train.sharding} if run.train.ranks > 1 else {}
    )
    facts |= kernels
    store.write_result(folder, "done", metrics=metrics, facts=facts)
    store.remove_training_state(folder)


def check_weights(asked: Objective, corpus: Corpus, run: Run, plan: TrainSettings) -> None:
    """Raise Stale unless a model made afresh with the trained weights has the same loss: scored has to be what was trained.

    Copies of weights that are kept, in another precision say, and not renewed when an optimizer changes them would pass unseen.
    """
    width, size = asked.model.backbone.width, corpus.vocabulary.size
    fresh = build_model(run.arch, width, run.size.context, size, seed=run.seed, device=plan.device)
    fresh.load_state_dict(asked.model.state_dict())
    blocks = evaluation.spread_blocks(corpus.parts["validation"], run.size.context, CHECK_BLOCKS)
    expected = evaluation.validation_nats(build_objective(run.objective, fresh), blocks, plan)
    came = evaluation.validation_nats(asked, blocks, plan)
    most = TOLERANCE if plan.precision == torch.float32 else TOLERANCE_MIXED
    if math.isfinite(came) and not abs(came - expected) <= most:  # what is no number has no score
        raise StaleWeights(
            f"the trained model has a loss of {came:.4f} nats, and its weights in a model made afresh {expected:.4f}: it keeps "
            "something that training changed, and does not renew or save it"
        )


def sample_text(asked: Objective, corpus: Corpus, run: Run) -> str:
    """What the model writes after the prompt; nothing for one that cannot."""
    settings = run.evaluate
    if not asked.model.backbone.causal or not settings.sample_tokens or not corpus.vocabulary.text:
        return ""
    asked.eval()
    try:
        return settings.prompt + continue_text(
            asked.model,
            corpus.vocabulary,
            settings.prompt,
            settings.sample_tokens,
            settings.temperature,
            run.seed,
        )
    except Unsupported:
        return ""


def size_metrics(language_model: LanguageModel, run: Run) -> list[Metric]:
    """Return parameters, width, unused budget, state of one sequence and FLOPs per token."""
    counts = count_parameters(language_model)
    state = state_metric(language_model, run.size.context)
    if run.size.match == "state":  # the width was solved from the state, so there is one
        spent = state.values[0] / run.size.state_bytes
    else:
        spent = counts[COUNT_KEYS[run.size.count]] / run.size.parameters
    return [
        *(metric(name, count) for name, count in counts.items()),
        metric("width", language_model.backbone.width),
        metric("budget_slack", 1 - spent),
        state,
        metric("flops_per_token", language_model.flops(run.size.context)),
    ]


def state_metric(language_model: LanguageModel, length: int) -> Metric:
    """Return the bytes of one sequence's state at the full context, or why there is none."""
    try:
        size = language_model.backbone.state_bytes(language_model.init_state(1, length))
    except Unsupported as reason:
        return metric("state_bytes", note=str(reason))
    return metric("state_bytes", size, f"of one sequence of {length} tokens")


def cost_metrics(fitted: TrainingSummary, compiling: float | None) -> list[Metric]:
    """Return what training took, and what compiling or choosing CUDA kernels took before it."""
    costs = {
        "compile_seconds": compiling,
        "train_seconds": fitted.seconds,
        "tokens_seen": fitted.tokens,
        "tokens_with_loss": fitted.targets if math.isfinite(fitted.targets) else None,
    }
    return [metric(name, value) for name, value in costs.items() if value is not None]


def settings_facts(plan: TrainSettings) -> dict[str, Any]:
    """What was decided on the spot."""
    chosen = {
        "device": str(plan.device),
        "precision": precision_name(plan),
        "learning_rate": plan.learning_rate,
    }
    return chosen if plan.compile == "none" else chosen | {"compile": plan.compile}


def kernel_facts(language_model: LanguageModel) -> dict[str, str]:
    """Which kernels its recurrences ran on, where they have a choice."""
    found = language_model.backbone.ran_on()
    return {"kernels": found} if found else {}
