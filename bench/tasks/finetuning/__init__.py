"""Fine-tune a model for a task: examples, batches, heads, scores, baselines."""

from bench.tasks.finetuning.contamination import seen_in_pretraining
from bench.tasks.finetuning.encoding import encode_examples
from bench.tasks.finetuning.examples import TaskExamples, prepare_examples
from bench.tasks.finetuning.pairs import encode_pairs, score_pairs
from bench.tasks.finetuning.results import (
    FineTunedModel,
    load_task,
    save_task,
    score_task,
    validation_loss,
)
from bench.tasks.finetuning.setup import (
    TaskSetup,
    scored_pairs,
    setup_task,
    task_examples,
    task_settings,
)
from bench.tasks.finetuning.trials import best_rate, trial_rates

__all__ = [
    "FineTunedModel",
    "TaskExamples",
    "TaskSetup",
    "best_rate",
    "encode_examples",
    "encode_pairs",
    "load_task",
    "prepare_examples",
    "save_task",
    "score_pairs",
    "score_task",
    "scored_pairs",
    "seen_in_pretraining",
    "setup_task",
    "task_examples",
    "task_settings",
    "trial_rates",
    "validation_loss",
]
