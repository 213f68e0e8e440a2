"""Seconds of training to nanoGPT's loss on tiny Shakespeare: an architecture of this bench beside nanoGPT's CPU recipe.

    python benchmarks/quality.py --text shakespeare.txt --nanogpt PATH_OF_A_CHECKOUT
    python benchmarks/quality.py --text shakespeare.txt --nanogpt PATH arch=rnn optimizer=adamw train.steps=500 train.compile=none

The recipe trains 0.80M parameters for 2,000 steps of 12 sequences of 64 characters, to 1.886 nats on the last tenth of the text.
Ours of the same size and batch is trained with its whole schedule in `train.steps` steps, for each seed; its loss is that of the
whole last tenth. Then single steps of both take turns, one thread each, and the seconds are steps times the time of one. Ours is
compiled, which takes its time before (printed, and in no ratio); nanoGPT's recipe is not, and is entered compiled as well.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import shape
import torch
import turns

from bench import data, evaluation, model
from bench.cli import compose
from bench.config.schema import Run
from bench.data import Blocks
from bench.training import compilation, loop, objective, optimizer, train_settings, warm_up

STEPS, NATS = 2000, 1.886  # nanoGPT's
RECIPE = [
    "arch=transformer", "optimizer=muon", "optimizer.momentum=0.85", "optimizer.weight_decay=0.01", "train=nanogpt",
    "train.learning_rate=1.2e-2", "train.warmup=20", "train.steps=255", "train.compile=default",
]  # fmt: skip
SHAPE = [
    "data=text",
    "data.split=tail",
    "data.tokenizer=characters",
    "size.parameters=800000",
    f"size.context={shape.CONTEXT}",
]


def asked_for(text: Path, words: list[str], seed: int, cache: str) -> Run:
    told = [
        *SHAPE,
        *RECIPE,
        f"data.path={text.resolve()}",
        f"data.cache={cache}",
        f"seed={seed}",
        *words,
    ]
    return compose.compose_sweep(told).runs[0]


def trained(run: Run) -> tuple[float, float]:
    """Nats a character of the whole validation part, after the whole training; and the seconds that compiling took before."""
    corpus, plan = data.prepare(run.data, "text"), train_settings(run)
    asked = built(run, corpus.vocabulary.size)
    blocks = Blocks(corpus.parts["train"].tokens, run.size.context, run.train.batch, run.seed)
    compilation.compile_objective(asked, plan, run.data.cache)
    compiling = warm_up(asked, plan, blocks)
    for _ in loop.train(
        asked, optimizer.build_optimizer(asked, run.optimizer, plan.learning_rate), blocks, plan
    ):
        pass
    part = corpus.parts["validation"].tokens
    spread = evaluation.spread_blocks(corpus.parts["validation"], run.size.context, len(part))
    return evaluation.validation_nats(asked, spread, plan), compiling


def built(run: Run, vocabulary: int, device: str | torch.device = "cpu") -> objective.Objective:
    width = model.width_for_size(run.arch, run.size, vocabulary)
    return objective.build_objective(
        run.objective,
        model.build_model(run.arch, width, run.size.context, vocabulary, run.seed, device),
    )


def main() -> None:
    """Train, take turns, print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare as one file")
    parser.add_argument(
        "--nanogpt", type=Path, required=True, help="the folder of a checkout of nanoGPT"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one turn")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument(
        "overrides", nargs="*", help="what is changed of the recipe: arch=rnn train.steps=500 …"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        runs = [asked_for(asked.text, asked.overrides, seed, cache) for seed in range(asked.seeds)]
        if asked.inside:
            shape.settle()
            makers = {
                "bench": partial(
                    shape.step,
                    runs[0],
                    built(runs[0], shape.VOCABULARY),
                    runs[0].train.compile != "none",
                ),
                "nanogpt": partial(shape.nanogpt_step, asked.nanogpt, False),
                "nanogpt, compiled": partial(shape.nanogpt_step, asked.nanogpt, True),
            }
            turns.serve(lambda: {"steps": (makers[asked.inside](), 1.0)})
        shape.settle()
        found = [trained(run) for run in runs]
    nats, compiling = (
        ", ".join(f"{one:.4f}" for one, _ in found),
        max(seconds for _, seconds in found),
    )
    print(
        f"{runs[0].names['arch']}, {runs[0].train.steps} steps: {nats} nats (nanoGPT: {NATS}); first pass {compiling:.0f} s"
    )
    options = ["--text", str(asked.text), "--nanogpt", str(asked.nanogpt), *asked.overrides]
    steps = {"nanogpt": STEPS, "nanogpt, compiled": STEPS, "bench": runs[0].train.steps}
    rates = turns.contest(__file__, list(steps), options, asked.rounds, asked.seconds)
    trainings = {(name, "trainings"): rates[name, "steps"] / count for name, count in steps.items()}
    peers = [name for name in steps if name != "bench"]
    pairs = {
        f"{work}: bench / {peer}": (("bench", work), (peer, work))
        for work in ("steps", "trainings")
        for peer in peers
    }
    turns.table(rates | trainings, pairs, "a second")
    for name, _ in trainings:
        print(
            f"{name}: {1 / np.median(trainings[name, 'trainings'][:, 0]):,.1f} s of training, one thread"
        )


if __name__ == "__main__":
    main()
