"""Fine-tune, score and record one run of a task, from the weights that it starts from."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import data, evaluation
from bench.config.errors import UserError
from bench.config.schema import Run, resolve_learning_rate
from bench.data import Vocabulary
from bench.data.tokenizer import load_vocabulary
from bench.execution.bases import own_base
from bench.execution.finalize import TrainingSummary, cost_metrics, run_facts, size_metrics
from bench.execution.fit import fit, recipe_origin
from bench.model import LanguageModel, build_sized_model, unchanged_process
from bench.records import store
from bench.records.finished import recorded_bases
from bench.records.metrics import TRAINING_FLOPS_FACTOR, Metric, metric
from bench.system.checksums import parse_checked_json
from bench.system.files import read_text
from bench.system.processes import announce_estimate
from bench.tasks.finetuning import (
    TaskSetup,
    best_rate,
    save_task,
    score_pairs,
    score_task,
    scored_pairs,
    seen_in_pretraining,
    setup_task,
    task_examples,
    task_settings,
    trial_rates,
    validation_loss,
)
from bench.training import Diverged, load, train_settings

logger = logging.getLogger(__name__)
SEEN_SHARE = 0.01  # of test texts, above which those that were not seen are scored apart


def finetune_and_score(run: Run, folder: Path) -> None:
    """Fine-tune, score and record one run.

    Raises UserError before training, Unsupported if the architecture cannot do what is requested,
    and Diverged.
    """
    model, vocabulary = starting_model(run, folder)
    if run.task.kind == "pairs":
        judge_pairs(run, folder, model, vocabulary)
        return
    setup = setup_task(run, model, vocabulary)
    origin = record_origin(run, folder, setup)
    if run.task.trials:
        setup = with_best_rate(run, folder, origin)
    summary = fit(setup, run, folder, origin, lambda: validation_loss(setup))
    save_task(folder, setup)
    answer = run.task.room if run.task.kind == "generation" else 1
    examples = len(setup.parts["test"]) / (setup.settings.steps * setup.settings.batch)
    announce_estimate(answer * examples * summary.seconds)
    record_scores(run, folder, setup, summary)
    store.remove_training_state(folder)


def with_best_rate(run: Run, folder: Path, origin: dict[str, str]) -> TaskSetup:
    """Return what a fine-tuning trains at the best rate of its trials, which `folder` keeps."""

    def prepare(rate: float) -> TaskSetup:
        setup = setup_task(run, *starting_model(run, folder))
        return replace(setup, settings=replace(setup.settings, learning_rate=rate))

    rates = trial_rates(resolve_learning_rate(run), run.task.trials)
    return prepare(best_rate(rates, prepare, run.optimizer, folder / "trials.json", origin))


def judge_pairs(run: Run, folder: Path, model: LanguageModel, vocabulary: Vocabulary) -> None:
    """Score and record minimal pairs, without training."""
    settings, pairs = task_settings(run), scored_pairs(run)
    store.add_provenance(folder, {"data": task_examples(run).digest}, {"pairs": len(pairs)})
    metrics, table = score_pairs(model.to(settings.device).eval(), vocabulary, pairs, settings)
    if name := evaluation.first_non_finite(metrics):
        raise Diverged(0, f"{name} of the model")
    store.write_parquet(folder / "examples.parquet", table)
    facts = {"objective": run.task.kind, "part": "test", "examples": {"test": len(pairs)}}
    store.write_result(folder, "done", metrics=metrics, facts=facts)


def record_scores(run: Run, folder: Path, setup: TaskSetup, summary: TrainingSummary) -> None:
    """Score and record what was fine-tuned. Raises Diverged and InvalidRun."""
    with unchanged_process(type(setup.model.backbone).__name__):
        metrics, table = score_task(setup, run)
    if name := evaluation.first_non_finite(metrics):
        raise Diverged(setup.settings.steps, f"{name} of the fine-tuned model")
    metrics += contamination_metrics(run, setup, table)
    metrics += [*size_metrics(setup.model, run), *cost_metrics(summary)]
    metrics += flops_metrics(run, folder, setup, summary)
    store.write_parquet(folder / "examples.parquet", table)
    store.write_result(folder, "done", metrics=metrics, facts=task_facts(run, setup))


def starting_model(run: Run, folder: Path) -> tuple[LanguageModel, Vocabulary]:
    """Return the model that a fine-tuning starts from, and its vocabulary.

    From scratch it has the initial values that its pre-trained counterpart began with.
    """
    if run.task.start != "scratch":
        trained = load(recorded_bases(folder)["base"].folder)
        return trained.model, trained.vocabulary
    vocabulary = task_vocabulary(run)
    return build_sized_model(run, vocabulary.size, train_settings(run).device), vocabulary


def task_vocabulary(run: Run) -> Vocabulary:
    """Return the vocabulary of the weights that a run starts from. Raise UserError."""
    if run.task.start == "self":
        own = own_base(run)
        corpus = data.prepare(own.data, own.names["data"])
        corpus.check(run.size.context)
        return corpus.vocabulary
    if not run.base:
        return data.prepare(run.data, run.names["data"]).vocabulary
    path = Path(run.base) / "checkpoint" / "vocabulary.json"
    try:
        return load_vocabulary(parse_checked_json(read_text(path)))
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"{path} cannot be read: copy it from where it came, or train the run again with "
            "again=all",
            "unreadable-file",
        ) from None


def record_origin(run: Run, folder: Path, setup: TaskSetup) -> dict[str, str]:
    """Record the digests of the examples; return all that a checkpoint has to agree with."""
    examples = f"{setup.task.digest}-{len(setup.parts['train'])}"
    digests = {
        "data": setup.task.digest,
        "examples": examples,
        "order": setup.blocks.digest(setup.settings.steps),
    }
    store.add_provenance(folder, digests, setup.task.facts)
    bases = recorded_bases(folder).values() if run.task.start != "scratch" else ()
    weights = " ".join(base.weights_sha256 for base in bases)
    own = {"base": weights, "vocabulary": setup.vocabulary.fingerprint()}
    return digests | own | recipe_origin(run, setup)


def contamination_metrics(run: Run, setup: TaskSetup, table: pd.DataFrame) -> list[Metric]:
    """Return the share of test texts that pre-training read, and the score without them.

    What is pre-trained on the task's own training texts has read none.
    """
    if run.task.start != "pretrained":
        return []
    corpus = data.prepare(run.data, run.names["data"])
    texts = [example.text for example in setup.parts["test"].examples[: len(table)]]
    seen = seen_in_pretraining(texts, corpus)
    if seen is None:
        return [metric("seen_in_pretraining", note="the text of pre-training is too long")]
    table["seen"] = seen
    share = float(np.mean(seen))
    metrics = [metric("seen_in_pretraining", share)]
    if SEEN_SHARE < share < 1:
        metrics.append(metric("unseen_accuracy", float(table["hit"][~seen].mean())))
    return metrics


def flops_metrics(
    run: Run, folder: Path, setup: TaskSetup, summary: TrainingSummary
) -> list[Metric]:
    """Return the FLOPs of fine-tuning, and of the pre-training that it starts from."""
    factor = 1 if run.task.frozen else TRAINING_FLOPS_FACTOR
    mean = max(1, round(summary.tokens / (setup.settings.steps * setup.settings.batch)))
    flops = factor * setup.model.flops(mean) * summary.tokens
    metrics = [metric("finetune_flops", flops, f"at the mean of {mean} tokens per example")]
    if run.task.start == "scratch":
        return metrics
    base = store.read_result(recorded_bases(folder)["base"].folder)["metrics"]
    values = {one["name"]: one["values"][0] for one in base if one["values"]}
    if {"flops_per_token", "tokens_seen"} <= values.keys():
        spent = TRAINING_FLOPS_FACTOR * values["flops_per_token"] * values["tokens_seen"]
        metrics.append(metric("pretraining_flops", spent))
    return metrics


def task_facts(run: Run, setup: TaskSetup) -> dict[str, Any]:
    """Return what was decided on this machine and by the examples."""
    facts = run_facts(setup, run) | {"objective": run.task.kind, "part": "test"}
    return facts | {
        "labels": list(setup.task.labels),
        "examples": {name: len(part) for name, part in setup.parts.items()},
        "steps": setup.settings.steps,
        "learning_rate": setup.settings.learning_rate,
        "batch": setup.settings.batch,
    }
