"""Training steps of every causal architecture beside the transformer's, at one number of parameters, eager, one thread.

    python benchmarks/mixers.py                       context 64, as in the learning table
    python benchmarks/mixers.py --context 256 --arch mingru mamba2

0.8 million parameters, 768 tokens a step, 257 bytes as vocabulary, float32, batches at hand. All in one process, a step each in
an order drawn anew in every round: each is held against the transformer's step of the same round, which stands in it twice.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import shape
import torch
import turns
import yaml

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.performance.workload import Workload

CONF = Path(__file__).resolve().parents[1] / "conf" / "arch"
REFERENCE, TOKENS, VOCABULARY = "transformer", 768, 257


def subject(arch: str, parameters: int, context: int) -> Workload:
    """An architecture ready to train, with its initial values."""
    torch.manual_seed(0)
    options = yaml.safe_load((CONF / f"{arch}.yaml").read_text(encoding="utf-8"))
    chosen = TrainConfig(batch=max(1, TOKENS // context), device="cpu", learning_rate=shape.RATE)
    made = Workload(
        Run(arch=options, size=SizeConfig(parameters, context), train=chosen), VOCABULARY
    )
    made.objective.train()
    return made


def contest(subjects: dict[str, Workload], rounds: int, warm: int = 3) -> turns.Rates:
    """Steps a second by both clocks, of each in each round."""
    order, taken = random.Random(0), dict[tuple[str, str], list[tuple[float, float]]]()
    for number in range(-warm, rounds):
        for name in order.sample(list(subjects), len(subjects)):
            wall, processor = time.perf_counter(), time.process_time()
            subjects[name].step()
            spent = 1 / (time.perf_counter() - wall), 1 / (time.process_time() - processor)
            if number >= 0:
                taken.setdefault((name, "step"), []).append(spent)
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {key: np.array(found) for key, found in taken.items()}


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", nargs="+", help="these alone")
    parser.add_argument("--parameters", type=int, default=800_000)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)  # a turn is one step
    asked = parser.parse_args()
    shape.settle()
    names = asked.arch or sorted(path.stem for path in CONF.glob("*.yaml"))
    subjects = {
        name: subject(name, asked.parameters, asked.context) for name in [REFERENCE, *names]
    }
    subjects = {name: made for name, made in subjects.items() if made.model.backbone.causal}
    again = f"{REFERENCE} again"
    rates = contest(
        {again: subject(REFERENCE, asked.parameters, asked.context), **subjects}, asked.rounds
    )
    pairs = {
        f"{name} / {REFERENCE}": ((name, "step"), (REFERENCE, "step"))
        for name in [again, *subjects]
        if name != REFERENCE
    }
    turns.table(rates, pairs, "steps/s")


if __name__ == "__main__":
    main()
