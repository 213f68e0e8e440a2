"""Compare training steps of every causal architecture with the transformer's, at one size.

    python benchmarks/mixers.py                       context 64, as in the learning table
    python benchmarks/mixers.py --context 256 --arch mingru mamba2

0.8 million parameters, 768 tokens per step, 257 bytes as vocabulary, float32, eager, one thread,
batches in memory. All in one process, one step each per round in random order: each is compared
with the transformer's step of the same round, which is in it twice.
"""

import random
import sys
import time

import numpy as np
import shape
import torch
import turns

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.performance.workload import Workload

REFERENCE, TOKENS, VOCABULARY = "transformer", 768, 257


def workload(arch: str, parameters: int, context: int) -> Workload:
    """Return an architecture ready to train, with its initial values."""
    torch.manual_seed(0)
    batch = max(1, TOKENS // context)
    recipe = TrainConfig(batch=batch, device="cpu", learning_rate=shape.RATE)
    size = SizeConfig(parameters, context)
    ready = Workload(Run(arch=shape.read_arch(arch), size=size, train=recipe), VOCABULARY)
    ready.objective.train()
    return ready


def time_steps(workloads: dict[str, Workload], rounds: int, warmup: int = 3) -> turns.Rates:
    """Return steps per second, by both clocks, of each in each round."""
    order, samples = random.Random(0), dict[tuple[str, str], list[tuple[float, float]]]()
    for number in range(-warmup, rounds):
        for name in order.sample(list(workloads), len(workloads)):
            wall, cpu = time.perf_counter(), time.process_time()
            workloads[name].step()
            rates = 1 / (time.perf_counter() - wall), 1 / (time.process_time() - cpu)
            if number >= 0:
                samples.setdefault((name, "step"), []).append(rates)
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {key: np.array(rates) for key, rates in samples.items()}


def main() -> None:
    """Take turns, print the table."""
    parser = turns.parser(__doc__, rounds=40, seconds=0)  # a turn is one step
    parser.add_argument("--arch", nargs="+", help="these only")
    parser.add_argument("--parameters", type=int, default=800_000)
    parser.add_argument("--context", type=int, default=64)
    args = parser.parse_args()
    shape.set_process_state()
    names = args.arch or sorted(path.stem for path in shape.CONF.glob("*.yaml"))
    again = f"{REFERENCE} again"
    workloads = {again: workload(REFERENCE, args.parameters, args.context)}
    for name in [REFERENCE, *names]:
        ready = workload(name, args.parameters, args.context)
        if ready.model.backbone.causal:
            workloads[name] = ready
    rates = time_steps(workloads, args.rounds)
    reference = (REFERENCE, "step")
    others = [name for name in workloads if name != REFERENCE]
    pairs = {f"{name} / {REFERENCE}": ((name, "step"), reference) for name in others}
    turns.print_table(rates, pairs, "steps/s")


if __name__ == "__main__":
    main()
