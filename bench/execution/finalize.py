"""Score and record a trained run: weights, score on held-out text, a sample, size and cost."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from architectures.interface import Unsupported
from bench import evaluation
from bench.config.errors import InvalidRun
from bench.config.schema import Run
from bench.data import Corpus
from bench.evaluation import Score, suite
from bench.evaluation.generation import continue_text
from bench.model import COUNT_KEYS, LanguageModel, build_model, count_parameters, unchanged_process
from bench.records import store
from bench.records.metrics import Metric, metric
from bench.training import (
    Diverged,
    Objective,
    Setup,
    TrainSettings,
    TrainSetup,
    build_objective,
    precision_name,
    save_weights,
)

CHECK_BLOCKS = 4  # of held-out text, for the comparison of a model with its saved weights
TOLERANCE, TOLERANCE_MIXED = 1e-3, 1e-2  # nats per token, in float32 and in mixed precision


class StaleWeights(InvalidRun):
    """A trained model that does not compute what its weights say; the message has both losses."""

    code = "stale-weights"


class TrainingSummary(NamedTuple):
    """What training took."""

    seconds: float
    tokens: int
    targets: float  # tokens with a loss
    facts: dict[str, Any]  # what was decided on the way
    compile_seconds: float | None = None  # of compiling, or of choosing CUDA kernels, before it


def finalize(
    setup: Setup, corpus: Corpus, run: Run, folder: Path, summary: TrainingSummary
) -> None:
    """Score and record what was trained. Raises Diverged without a finite score, InvalidRun."""
    objective, model = setup.objective, setup.model
    save_weights(folder / "checkpoint", model, corpus.vocabulary, model.backbone.width)
    check_weights(objective, corpus, run, setup.settings)
    score = score_and_store(setup, corpus, run, folder)
    # the facts before the sample, which may run on other kernels
    facts = run_facts(setup, run) | summary.facts
    facts |= {"objective": objective.name, "protocol": score.protocol, "part": corpus.scored}
    if text := sample_text(objective, corpus, run):
        store.write_text(folder / "text.txt", text)
    store_saliency(setup, corpus, run, folder)
    looks = evaluation.validation_bytes(
        objective, corpus.parts["validation"], corpus.vocabulary, run.size.context
    )
    metrics = [*score.metrics, *looks, *size_metrics(model, run), *cost_metrics(summary)]
    store.write_result(folder, "done", metrics=metrics, facts=facts)
    store.remove_training_state(folder)


def scoring_seconds(corpus: Corpus, run: Run, summary: TrainingSummary) -> float:
    """Return about how long scoring takes: for each token that is read as long as training."""
    options, context = run.evaluate, run.size.context
    overlap = context / (options.stride or context / 4) if options.protocol == "stride" else 1
    windows = 8 * options.stretches + options.pseudo_positions + options.windows * context
    tokens = overlap * len(corpus.parts[corpus.scored].tokens) + context * windows
    return tokens * summary.seconds / summary.tokens


def score_and_store(setup: Setup, corpus: Corpus, run: Run, folder: Path) -> Score:
    """Score a model on held-out text, and store its scores by document and by window.

    Raises InvalidRun for scores that cannot be trusted.
    """
    with unchanged_process(type(setup.model.backbone).__name__):
        score, windows = suite.score_model(setup.objective, corpus, run, setup.settings)
    if name := evaluation.first_non_finite(score.metrics):
        raise Diverged(setup.settings.steps, f"{name} of the trained model")
    store.write_parquet(folder / "documents.parquet", score.documents)
    store.write_parquet(folder / "windows.parquet", windows)
    return score


def check_weights(objective: Objective, corpus: Corpus, run: Run, settings: TrainSettings) -> None:
    """Raise StaleWeights unless a new model with the trained weights has the same loss.

    A model may keep copies of weights, in another precision for example, which the optimizer does
    not update: it would be scored with other weights than those that are saved.
    """
    width, vocabulary = objective.model.backbone.width, corpus.vocabulary.size
    fresh = build_model(
        run.arch, width, run.size.context, vocabulary, seed=run.seed, device=settings.device
    )
    fresh.load_state_dict(objective.model.state_dict())
    blocks = evaluation.spread_blocks(corpus.parts["validation"], run.size.context, CHECK_BLOCKS)
    restored = build_objective(run.objective, fresh)
    expected = evaluation.validation_nats(restored, blocks, settings)
    trained = evaluation.validation_nats(objective, blocks, settings)
    tolerance = TOLERANCE if settings.precision == torch.float32 else TOLERANCE_MIXED
    if math.isfinite(trained) and not abs(trained - expected) <= tolerance:
        raise StaleWeights(
            f"the trained model has a loss of {trained:.4f} nats, and a new model with its weights "
            f"{expected:.4f}: it keeps a state that training changed, and does not save it"
        )


def store_saliency(setup: Setup, corpus: Corpus, run: Run, folder: Path) -> None:
    """Store what held-out predictions look at; nothing for encoders and synthetic sources."""
    causal_text = setup.model.backbone.causal and corpus.synthetic is None
    if causal_text and run.evaluate.saliency:
        content = evaluation.measure_saliency(setup.model, corpus, run, setup.settings)
        store.write_json(folder / "saliency.json", content)


def sample_text(objective: Objective, corpus: Corpus, run: Run) -> str:
    """Return what the model writes after the prompt; empty for one that cannot write."""
    model, options = objective.model, run.evaluate
    if not model.backbone.causal or not options.sample_tokens or not corpus.vocabulary.text:
        return ""
    objective.eval()
    try:
        return options.prompt + continue_text(
            model,
            corpus.vocabulary,
            options.prompt,
            options.sample_tokens,
            options.temperature,
            run.seed,
        )
    except Unsupported:
        return ""


def size_metrics(model: LanguageModel, run: Run) -> list[Metric]:
    """Return parameters, width, unused budget, state of one sequence and FLOPs per token."""
    counts = count_parameters(model)
    state = state_metric(model, run.size.context)
    if run.size.match == "state":  # the width was solved from the state, so there is one
        spent = state.values[0] / run.size.state_bytes
    else:
        spent = counts[COUNT_KEYS[run.size.count]] / run.size.parameters
    return [
        *(metric(name, count) for name, count in counts.items()),
        metric("width", model.backbone.width),
        metric("budget_slack", 1 - spent),
        state,
        metric("flops_per_token", model.flops(run.size.context)),
    ]


def state_metric(model: LanguageModel, length: int) -> Metric:
    """Return the bytes of one sequence's state at the full context, or why there is none."""
    try:
        size = model.backbone.state_bytes(model.init_state(1, length))
    except Unsupported as reason:
        return metric("state_bytes", note=str(reason))
    return metric("state_bytes", size, f"of one sequence of {length} tokens")


def cost_metrics(summary: TrainingSummary) -> list[Metric]:
    """Return what training took, and compiling or choosing CUDA kernels before it."""
    costs = {
        "compile_seconds": summary.compile_seconds,
        "train_seconds": summary.seconds,
        "tokens_seen": summary.tokens,
        "tokens_with_loss": summary.targets if math.isfinite(summary.targets) else None,
    }
    return [metric(name, value) for name, value in costs.items() if value is not None]


def run_facts(setup: TrainSetup, run: Run) -> dict[str, Any]:
    """Return what was decided on this machine."""
    settings, backbone = setup.settings, setup.model.backbone
    facts: dict[str, Any] = {
        "width": backbone.width,
        "device": str(settings.device),
        "precision": precision_name(settings),
        "learning_rate": settings.learning_rate,
    }
    if settings.compile != "none":
        facts["compile"] = settings.compile
    if run.train.ranks > 1:
        facts |= {"ranks": run.train.ranks, "sharding": run.train.sharding}
    pieces = run.train.accumulate * run.train.ranks
    if pieces > 1 and backbone.auxiliary() is not None:
        facts["auxiliary_pieces"] = pieces
    if kernels := backbone.ran_on():
        facts["kernels"] = kernels
    return facts
