"""Score a fine-tuned model on held-out examples: hits, nats and predictions of each."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from bench.data.blocks import EVAL_BATCH
from bench.records.metrics import Metric, metric
from bench.tasks.finetuning.batches import ExampleBlock, pad_examples
from bench.tasks.finetuning.encoding import EncodedPart
from bench.tasks.finetuning.objectives import Classifier
from bench.training import TrainSettings, autocast, torch_generator


def example_blocks(part: EncodedPart) -> Iterator[tuple[np.ndarray, ExampleBlock]]:
    """Yield which examples a block has, and the block: of like length, for little padding."""
    lengths = [
        len(row) + (len(part.answers[index]) if part.answers else 0)
        for index, row in enumerate(part.rows)
    ]
    order = np.argsort(lengths, kind="stable")
    for first in range(0, len(order), EVAL_BATCH):
        chosen = order[first : first + EVAL_BATCH]
        yield chosen, pad_examples(part, chosen)


@torch.no_grad()
def label_log_probabilities(
    objective: Classifier, part: EncodedPart, settings: TrainSettings
) -> np.ndarray:
    """Return the log-probability of every label for every example, (N, labels) float64."""
    objective.eval()
    result = np.zeros((len(part), objective.head.out_features))
    for chosen, block in example_blocks(part):
        batch = objective.batch_of(block, torch_generator(0)).to(settings.device)
        with autocast(settings):
            logits = objective.logits(batch)
        result[chosen] = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
    return result


def classification_scores(
    log_p: np.ndarray, part: EncodedPart, labels: tuple[str, ...]
) -> tuple[list[Metric], pd.DataFrame]:
    """Return metrics and a row per example from log-probabilities (N, labels)."""
    chosen = log_p.argmax(axis=1)
    nats = -log_p[np.arange(len(chosen)), part.labels]
    table = example_table(part, chosen == part.labels, nats)
    table["prediction"] = [labels[label] for label in chosen]
    confusion = np.zeros((len(labels), len(labels)))
    np.add.at(confusion, (part.labels, chosen), 1)
    metrics = [
        metric("label_accuracy", float(table["hit"].mean())),
        metric("macro_f1", macro_f1(confusion)),
        metric("label_nats", float(nats.mean())),
    ]
    return metrics + ([metric("matthews", matthews(confusion))] if len(labels) == 2 else []), table


def example_table(part: EncodedPart, hits: np.ndarray, nats: np.ndarray) -> pd.DataFrame:
    """Return a row per example: its digest and texts, whether it was solved, its nats."""
    return pd.DataFrame({
        "example": np.arange(len(part)),
        "digest": [example.key[:16] for example in part.examples],
        "text": [example.text for example in part.examples],
        "target": [example.target for example in part.examples],
        "hit": hits * 1.0,
        "nats": nats,
    })  # fmt: skip


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean over labels of F1, from counts (true, predicted); 0 for one never right."""
    right, totals = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(2 * right / np.maximum(totals, 1)))


def matthews(confusion: np.ndarray) -> float:
    """Return Matthews' correlation of two labels, from counts (true, predicted); 0 if constant."""
    (a, b), (c, d) = confusion
    product = (a + b) * (c + d) * (a + c) * (b + d)
    return float((a * d - b * c) / math.sqrt(product)) if product else 0.0
