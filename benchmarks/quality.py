r"""Compare the seconds of training to nanoGPT's loss on tiny Shakespeare with nanoGPT's CPU recipe.

    python benchmarks/quality.py --text shakespeare.txt --nanogpt PATH_OF_A_CHECKOUT
    python benchmarks/quality.py --text shakespeare.txt --nanogpt PATH arch=rnn optimizer=adamw \
        train.steps=500 train.compile=none

The recipe trains 0.80M parameters for 2,000 steps of 12 sequences of 64 characters, to 1.886 nats
on the last tenth of the text. An architecture of the same size and batch is trained with its full
schedule in `train.steps` steps, for each seed; its loss is that of the full last tenth. Then single
steps of both take turns, one thread each; the seconds are steps times the time of one. Compiling
takes its time before (printed, and in no ratio); nanoGPT's recipe is not compiled, and is entered
compiled as well.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import shape
import turns

from bench import data, evaluation
from bench.cli import compose
from bench.config.schema import Run
from bench.data import Corpus
from bench.performance.timing import synchronise
from bench.training import (
    Setup,
    build_objective,
    build_optimizer,
    compile_objective,
    setup,
    setup_on_random_tokens,
    train,
    warm_up,
)

STEPS, NATS = 2000, 1.886  # nanoGPT's
RECIPE = (
    "arch=transformer optimizer=muon optimizer.momentum=0.85 optimizer.weight_decay=0.01 "
    "train=nanogpt train.learning_rate=1.2e-2 train.warmup=20 train.steps=255 "
    "train.compile=default data=text data.split=tail data.tokenizer=characters "
    f"size.parameters=800000 size.context={shape.CONTEXT}"
).split()


def compose_run(text: Path, overrides: list[str], seed: int, cache: str) -> Run:
    """Return the run of the recipe with other overrides."""
    own = [f"data.path={text.resolve()}", f"data.cache={cache}", f"seed={seed}"]
    return compose.compose_sweep([*RECIPE, *own, *overrides]).runs[0]


def train_run(run: Run) -> tuple[float, float, float]:
    """Train; return seconds of training, seconds of compiling, and nats of the validation part."""
    corpus = data.prepare(run.data, "text")
    ready = setup(run, corpus)
    settings, objective = ready.settings, ready.objective
    compile_objective(objective, settings, run.data.cache)
    compiling = 0.0 if settings.compile == "none" else warm_up(objective, settings, ready.blocks)
    optimizer = build_optimizer(objective, run.optimizer, settings.learning_rate)
    synchronise(settings.device)
    began = time.perf_counter()
    for _ in train(objective, optimizer, ready.blocks, settings):
        pass
    synchronise(settings.device)
    return time.perf_counter() - began, compiling, validation_nats(run, ready, corpus)


def validation_nats(run: Run, ready: Setup, corpus: Corpus) -> float:
    """Return nats per character of the full validation part."""
    part = corpus.parts["validation"]
    blocks = evaluation.spread_blocks(part, run.size.context, len(part.tokens))
    return evaluation.validation_nats(ready.objective, blocks, ready.settings)


def bench_step(run: Run) -> shape.Step:
    """Return this project's training step of a run."""
    model = setup_on_random_tokens(run, shape.VOCABULARY).model
    compiled = run.train.compile != "none"
    return shape.step_of(run, build_objective(run.objective, model), compiled)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = turns.parser(__doc__, rounds=60, seconds=0.3)
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare as one file")
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of nanoGPT")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of the recipe: arch=rnn train.steps=500 …")
    return parser.parse_args()


def main() -> None:
    """Train, take turns, print both."""
    args = parse_arguments()
    shape.set_process_state()
    with tempfile.TemporaryDirectory() as cache:
        runs = [compose_run(args.text, args.overrides, s, cache) for s in range(args.seeds)]
        makers = {
            "bench": partial(bench_step, runs[0]),
            "nanogpt": partial(shape.nanogpt_step, args.nanogpt, False),
            "nanogpt, compiled": partial(shape.nanogpt_step, args.nanogpt, True),
        }
        if args.inside:
            turns.serve(lambda: {"steps": (makers[args.inside](), 1.0)})
        results = [train_run(run) for run in runs]
    print_trainings(runs[0], results)
    options = ["--text", str(args.text), "--nanogpt", str(args.nanogpt), *args.overrides]
    rates = turns.take_turns(__file__, list(makers), options, args.rounds, args.seconds)
    compare_trainings(rates, runs[0].train.steps)


def print_trainings(run: Run, results: list[tuple[float, float, float]]) -> None:
    """Print the loss of each seed, and the longest time of compiling."""
    nats = ", ".join(f"{result[2]:.4f}" for result in results)
    compiling = max(result[1] for result in results)
    title = f"{run.names['arch']}, {run.train.steps} steps: {nats} nats (nanoGPT: {NATS})"
    print(f"{title}; compiling {compiling:.0f} s")


def compare_trainings(rates: turns.Rates, count: int) -> None:
    """Print the ratios of steps and of trainings, and the seconds of a training."""
    steps = {"nanogpt": STEPS, "nanogpt, compiled": STEPS, "bench": count}
    trainings = {(name, "trainings"): rates[name, "steps"] / n for name, n in steps.items()}
    pairs = {
        f"{work}: bench / {peer}": (("bench", work), (peer, work))
        for work in ("steps", "trainings")
        for peer in steps
        if peer != "bench"
    }
    turns.print_table(rates | trainings, pairs, "per second")
    for (name, _), values in trainings.items():
        print(f"{name}: {1 / np.median(values[:, 0]):,.1f} s of training, one thread")


if __name__ == "__main__":
    main()
