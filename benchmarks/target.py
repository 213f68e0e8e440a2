"""Seconds of whole trainings, and the loss that each ends at: by default the size of nanoGPT's recipe for a GPU.

    python benchmarks/target.py --text shakespeare.txt
    python benchmarks/target.py --text shakespeare.txt --target 1.6 --seeds 1 train.device=cpu train.steps=300

nanoGPT trains 10.65M parameters (6 layers, 384 wide, context 256, dropout 0.2) on batches of 64 to 1.4697 nats on the last tenth
of tiny Shakespeare. Timed is training alone, from its first step to its last, an idle device before and after; compiling and the
loss of the whole last tenth stand beside it. Nothing else should use the device.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import quality
import torch

from bench import data, evaluation
from bench.config.schema import Run
from bench.data import Blocks
from bench.performance.timing import synchronise
from bench.training import (
    compilation,
    loop,
    optimizer,
    precision_name,
    set_matmul_precision,
    train_settings,
    warm_up,
)

NATS = 1.4697  # nanoGPT's
RECIPE = [
    "size.parameters=10660000", "size.context=256", "arch.layers=6", "arch.heads=6", "arch.dropout=0.2", "train.batch=64",
    "train.steps=1000", "train.learning_rate=2e-3", "train.warmup=50", "train.compile=default", "optimizer=adamw",
    "optimizer.weight_decay=0.1",
]  # fmt: skip


def trained(run: Run) -> tuple[float, float, float]:
    """Seconds of training, seconds before its first step for compiling, nats a character of the whole validation part."""
    corpus, plan = data.prepare(run.data, "text"), train_settings(run)
    set_matmul_precision(plan)
    objective = quality.built(run, corpus.vocabulary.size, plan.device)
    blocks = Blocks(corpus.parts["train"].tokens, run.size.context, run.train.batch, run.seed)
    compilation.compile_objective(objective, plan, run.data.cache)
    compiling = 0.0 if plan.compile == "none" else warm_up(objective, plan, blocks)
    chosen = optimizer.build_optimizer(objective, run.optimizer, plan.learning_rate)
    synchronise(plan.device)
    began = time.perf_counter()
    for step in loop.train(objective, chosen, blocks, plan):
        print(f"\rstep {step.step} of {plan.steps}", end="", file=sys.stderr, flush=True)
    synchronise(plan.device)
    seconds, part = time.perf_counter() - began, corpus.parts["validation"].tokens
    print(file=sys.stderr)
    whole = evaluation.spread_blocks(corpus.parts["validation"], run.size.context, len(part))
    return seconds, compiling, evaluation.validation_nats(objective, whole, plan)


def main() -> None:
    """Train with each seed, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare as one file")
    parser.add_argument("--target", type=float, default=NATS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "overrides", nargs="*", help="what is changed of the recipe: arch=gpt train.steps=500 …"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(asked.seeds):
            run = quality.asked_for(asked.text, [*RECIPE, *asked.overrides], seed, cache)
            plan = train_settings(run)
            device = (
                torch.cuda.get_device_name()
                if plan.device.type == "cuda"
                else "one thread of a processor"
            )
            seconds, compiling, nats = trained(run)
            said = "reached" if nats <= asked.target else "missed"
            print(
                f"{run.names['arch']}, seed {seed}, {run.train.steps} steps, {device}, {precision_name(plan)}: "
                f"{nats:.4f} nats, {asked.target} {said}, {seconds:.1f} s of training, {compiling:.1f} s of compiling",
                flush=True,
            )


if __name__ == "__main__":
    main()
