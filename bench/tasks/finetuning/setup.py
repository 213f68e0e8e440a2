"""Build what a fine-tuning trains: model, objective, batches and settings."""

from dataclasses import dataclass, replace

from bench.config.schema import Run, resolve_learning_rate
from bench.data import Vocabulary
from bench.model import LanguageModel
from bench.tasks.finetuning.answers import Answerer
from bench.tasks.finetuning.batches import ExampleBatches
from bench.tasks.finetuning.encoding import EncodedPart, encode_examples
from bench.tasks.finetuning.examples import TaskExamples, prepare_examples
from bench.tasks.finetuning.objectives import Classifier, build_task_objective
from bench.tasks.finetuning.sources.base import Example
from bench.training import (
    TrainSettings,
    TrainSetup,
    set_matmul_precision,
    train_settings,
)

LOGGED_STEPS, VALIDATIONS = 20, 4  # rows of the curve, and validations, at least and at most


@dataclass(frozen=True)
class TaskSetup(TrainSetup):
    """What one fine-tuning trains, and the examples that it is scored on."""

    objective: Classifier | Answerer
    blocks: ExampleBatches
    vocabulary: Vocabulary
    task: TaskExamples
    parts: dict[str, EncodedPart]


def task_examples(run: Run) -> TaskExamples:
    """Return the examples of a run's task. Raise UserError."""
    return prepare_examples(run.task, run.names["task"], run.data.cache)


def task_settings(run: Run) -> TrainSettings:
    """Return the recipe of a fine-tuning: the run's machine and optimizer, the task's schedule."""
    task = run.task
    scratch = task.start == "scratch"
    share = task.scratch_share if scratch else task.share
    rate = share * resolve_learning_rate(run) if task.learning_rate is None else task.learning_rate
    steps = task.steps * (task.scratch_steps if scratch else 1)
    return replace(
        train_settings(run),
        steps=steps,
        batch=task.batch,
        accumulate=1,
        learning_rate=rate,
        final_rate=0.0,
        warmup=round(task.warmup * steps),
        schedule="linear",
        compile="none",
        log_every=max(1, min(run.train.log_every, steps // LOGGED_STEPS)),
        validations=min(run.train.validations, VALIDATIONS),
    )


def scored_pairs(run: Run) -> list[Example]:
    """Return the minimal pairs of a run's task that are scored. Raise UserError."""
    return task_examples(run).parts["test"][: run.task.decode or None]


def setup_task(run: Run, model: LanguageModel, vocabulary: Vocabulary) -> TaskSetup:
    """Return what a fine-tuning of a model trains. Raise UserError."""
    settings = task_settings(run)
    set_matmul_precision(settings)
    task = task_examples(run)
    parts = encode_examples(task, run.task, vocabulary, model.backbone.context)
    model = model.to(settings.device)
    objective = build_task_objective(run, model, len(task.labels), vocabulary.separator)
    blocks = ExampleBatches(parts["train"], run.task.batch, run.seed)
    return TaskSetup(model, objective, blocks, settings, vocabulary, task, parts)
