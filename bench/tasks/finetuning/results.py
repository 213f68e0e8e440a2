"""Score a fine-tuning, and save and load what it made."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.data import Vocabulary
from bench.records import store
from bench.records.metrics import Metric, metric
from bench.system.checksums import parse_checked_json
from bench.system.files import read_text
from bench.tasks.finetuning.answers import (
    Answerer,
    answer_nats,
    decode_answers,
    likelihood_metrics,
    turned,
)
from bench.tasks.finetuning.encoding import EncodedPart, encode_inputs
from bench.tasks.finetuning.objectives import Classifier, build_task_objective
from bench.tasks.finetuning.overlap import text_metrics
from bench.tasks.finetuning.scores import (
    classification_scores,
    example_blocks,
    example_table,
    label_log_probabilities,
)
from bench.tasks.finetuning.setup import TaskSetup, task_settings
from bench.training import TrainSettings, autocast, load, save_weights, torch_generator
from bench.training.checkpoint import read_torch, write_torch

VALIDATION_EXAMPLES = 256  # scored now and then during training
TASK_FILE, HEAD_FILE = "task.json", "head.pt"


@torch.no_grad()
def validation_loss(setup: TaskSetup, examples: int = VALIDATION_EXAMPLES) -> float:
    """Return the training loss on the first validation examples, in nats per target."""
    setup.objective.eval()
    part, nats, count = setup.parts["validation"].first(examples), 0.0, 0.0
    for number, (_, block) in enumerate(example_blocks(part)):
        batch = setup.objective.batch_of(block, torch_generator(number))
        with autocast(setup.settings):
            total = setup.objective(batch.to(setup.settings.device))
        nats, count = nats + float(total.nats), count + float(total.count)
    return nats / count


def scored_part(setup: TaskSetup, run: Run) -> EncodedPart:
    """Return the test examples that are scored: all of a classification, else the first ones."""
    part = setup.parts["test"]
    return part if run.task.kind == "classification" else part.first(run.task.decode)


def score_task(setup: TaskSetup, run: Run) -> tuple[list[Metric], pd.DataFrame]:
    """Return the metrics of a fine-tuned model on the test part, and a row per example."""
    part, objective = scored_part(setup, run), setup.objective
    if isinstance(objective, Classifier):
        log_p = label_log_probabilities(objective, part, setup.settings)
        metrics, table = classification_scores(log_p, part, setup.task.labels)
    else:
        answers = decode_answers(objective, part, setup.vocabulary, run.task.room, setup.settings)
        metrics, table = score_answers(objective, part, answers, setup.settings)
    return [*metrics, metric("cut_share", float(part.cut.mean()))], table


def score_answers(
    objective: Answerer, part: EncodedPart, answers: list[str], settings: TrainSettings
) -> tuple[list[Metric], pd.DataFrame]:
    """Return metrics of decoded answers and of the likelihood of the references."""
    nats = answer_nats(objective, part, settings)
    other = answer_nats(objective, turned(part), settings)
    references = [example.target for example in part.examples]
    table = example_table(part, np.array(answers) == np.array(references), nats)
    table["prediction"] = answers
    table["bytes"] = [len(reference.encode()) for reference in references]
    metrics = likelihood_metrics(nats, other, table["bytes"].to_numpy())
    return [*text_metrics(answers, references), *metrics], table


def save_task(folder: Path, setup: TaskSetup) -> None:
    """Write the weights of a fine-tuned model, its head and its labels."""
    checkpoint = folder / "checkpoint"
    save_weights(checkpoint, setup.model, setup.vocabulary, setup.model.backbone.width)
    if isinstance(setup.objective, Classifier):
        write_torch(checkpoint / HEAD_FILE, setup.objective.head.state_dict())
    store.write_json(checkpoint / TASK_FILE, {"labels": setup.task.labels})


@dataclass(frozen=True)
class FineTunedModel:
    """A fine-tuned model, ready to use."""

    objective: Classifier | Answerer
    vocabulary: Vocabulary
    run: Run
    labels: tuple[str, ...]
    settings: TrainSettings

    def predict(self, texts: list[str]) -> list[str]:
        """Return the label of each text, or the answer to it."""
        part = encode_inputs(texts, self.run.task, self.vocabulary, self.run.size.context)
        if isinstance(self.objective, Classifier):
            chosen = label_log_probabilities(self.objective, part, self.settings).argmax(axis=1)
            return [self.labels[label] for label in chosen]
        room = self.run.task.room
        return decode_answers(self.objective, part, self.vocabulary, room, self.settings)


def load_task(folder: str | Path, device: str = "cpu") -> FineTunedModel:
    """Return the fine-tuned model of a folder below results/<suite>/tasks. Raise UserError."""
    checkpoint = Path(folder) / "checkpoint"
    trained = load(folder, device)
    try:
        labels = tuple(parse_checked_json(read_text(checkpoint / TASK_FILE))["labels"])
        objective = build_task_objective(
            trained.run, trained.model, len(labels), trained.vocabulary.separator
        )
        if isinstance(objective, Classifier):
            head = read_torch(checkpoint / HEAD_FILE, device)
            objective.head.load_state_dict(head)
    except (OSError, ValueError, KeyError, RuntimeError):
        raise UserError(
            f"{folder} is not the folder of a finished fine-tuning: those are in "
            "results/<suite>/tasks",
            "no-records",
        ) from None
    settings = task_settings(trained.run)
    return FineTunedModel(objective.eval(), trained.vocabulary, trained.run, labels, settings)
