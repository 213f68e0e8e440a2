"""Reproduce published losses on tiny Shakespeare through this project's own data and training.

    python benchmarks/published.py --text shakespeare.txt

| target | published | settings |
|---|---|---|
| interpolated Kneser-Ney, 6-gram | 1.558 nats per character | one discount per order |
| modified Kneser-Ney, 6-gram | 1.523 | Chen and Goodman 1998 |
| nanoGPT's recipe for a CPU | 1.88 | its initial values, rate, schedule and optimizer |

All read the first 90 % of the text and score the last 10 %. Exit code 1 where one is further off
than its tolerance. The LSTM of pytorch/examples on WikiText-2 (test perplexity of words) is not
among them: it is trained by SGD at a rate that is quartered when the validation loss rises and
scored at the best epoch, and no run of this project decides by validation.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import quality
import torch
from torch import nn

from architectures.gpt import GPT
from bench.evaluation import ngram

ORDER = 6
NANOGPT = (
    "arch=gpt arch._target_=published.NanoGPT optimizer=adamw optimizer.weight_decay=0.1 "
    "optimizer.beta2=0.99 train.steps=2000 train.learning_rate=1e-3 train.schedule=cosine "
    "train.final_rate=0.1 train.warmup=100 train.compile=none"
).split()


class NanoGPT(GPT):
    """GPT with nanoGPT's initial values: matrices 0.02, residual outputs 0.02 / √(2·layers)."""

    @torch.no_grad()
    def initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                is_output = name.endswith((".out", ".feed_out"))
                scale = math.sqrt(2 * len(self.blocks)) if is_output else 1.0
                module.weight.normal_(0.0, 0.02 / scale)


class PublishedFigure(NamedTuple):
    """A published figure in nats per character, and how far off ours may be."""

    name: str
    published: float
    tolerance: float


def kneser_ney_nats(ids: np.ndarray, modified: bool) -> float:
    """Return nats per character of the last tenth under the model of the first nine."""
    border = int(0.9 * len(ids))
    orders = ngram.probabilities(
        ids[:border], ids[border:], int(ids.max()) + 1, ORDER, modified=modified
    )
    best = np.empty(len(ids) - border)
    for n, probability in enumerate(orders, 1):  # the highest order that the position has
        best[n - 1 :] = probability[n - 1 :]
    return float(-np.log(best).mean())


def reproduce(text: Path, seeds: int, cache: str) -> Iterator[tuple[PublishedFigure, list[float]]]:
    """Yield each target with what this project reaches."""
    ids = np.unique(list(text.read_text(encoding="utf-8")), return_inverse=True)[1]
    yield (
        PublishedFigure("Kneser-Ney, 6-gram", 1.558, 0.005),
        [kneser_ney_nats(ids, modified=False)],
    )
    yield (
        PublishedFigure("modified Kneser-Ney, 6-gram", 1.523, 0.005),
        [kneser_ney_nats(ids, modified=True)],
    )
    runs = [quality.compose_run(text, NANOGPT, seed, cache) for seed in range(seeds)]
    nats = [quality.train_run(run)[2] for run in runs]
    yield PublishedFigure("nanoGPT, CPU recipe", 1.88, 0.02), nats


def main() -> int:
    """Print a line for each target; return 1 where one is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare as one file")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as cache:
        for target, values in reproduce(args.text, args.seeds, cache):
            mean = sum(values) / len(values)
            reached = abs(mean - target.published) <= target.tolerance
            missed += not reached
            each = ", ".join(f"{value:.4f}" for value in values)
            verdict = f"{'within' if reached else 'NOT within'} {target.tolerance}"
            print(
                f"{target.name}: {target.published} published, {each} here: {verdict}", flush=True
            )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
