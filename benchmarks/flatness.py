"""Does a further token cost the same after 128 tokens and after 8,192? Every architecture whose state does not grow.

    python benchmarks/flatness.py
    python benchmarks/flatness.py --arch rnn mamba2 --rounds 60

0.8 million parameters, one sequence, float32, one thread, through the one `forward`. The states are made beforehand by reading so
many tokens; then every round goes on for 16 tokens from a copy of each, in an order drawn anew.
"""

import argparse
import random
import sys
import time

import numpy as np
import shape
import torch
import turns
from mixers import CONF, VOCABULARY, subject
from torch.utils import _pytree as pytree

from architectures.interface import State, Unsupported
from bench.model import LanguageModel

LENGTHS = (128, 512, 2048, 8192)
FURTHER = 16


def grows(model: LanguageModel) -> bool:
    """Whether the state is longer for a longer text, or there is none."""
    try:
        sizes = {
            model.backbone.state_bytes(model.init_state(1, length))
            for length in (LENGTHS[0], LENGTHS[-1])
        }
    except Unsupported:
        return True
    return len(sizes) > 1


def copied(state: State) -> State:
    return pytree.tree_map(
        lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, state
    )


def tokens_a_second(model: LanguageModel, state: State) -> tuple[float, float]:
    """By both clocks, from a copy of a state on."""
    state, token = copied(state), torch.ones(1, 1, dtype=torch.long)
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(FURTHER):
        _, state = model(token, state)
    return FURTHER / (time.perf_counter() - wall), FURTHER / (time.process_time() - processor)


def contest(model: LanguageModel, rounds: int) -> dict[int, np.ndarray]:
    """(R, 2) for each length."""
    order, taken, states = (
        random.Random(0),
        dict[int, list[tuple[float, float]]](),
        dict[int, State](),
    )
    text = torch.randint(VOCABULARY, (1, LENGTHS[-1]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for length in LENGTHS:
            states[length] = model(text[:, :length], model.init_state(1, LENGTHS[-1] + FURTHER))[1]
        for number in range(rounds + 1):
            for length in order.sample(LENGTHS, len(LENGTHS)):
                found = tokens_a_second(model, states[length])
                if number:
                    taken.setdefault(length, []).append(found)
    return {length: np.array(found) for length, found in taken.items()}


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", nargs="+", help="these alone")
    parser.add_argument("--parameters", type=int, default=800_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)  # a turn is 16 tokens
    asked = parser.parse_args()
    shape.settle()
    rates, pairs = turns.Rates(), dict[str, turns.Pair]()
    for name in asked.arch or sorted(path.stem for path in CONF.glob("*.yaml")):
        model = subject(name, asked.parameters, shape.CONTEXT).model.eval()
        if model.backbone.causal and not grows(model):
            print(f"\r{name:<20}", end="", file=sys.stderr, flush=True)
            rates |= {
                (name, str(length)): found for length, found in contest(model, asked.rounds).items()
            }
            pairs |= {
                f"{name}: {n} / {LENGTHS[0]}": ((name, str(n)), (name, str(LENGTHS[0])))
                for n in LENGTHS[1:]
            }
    print(file=sys.stderr)
    turns.table(rates, pairs, "tokens/s")


if __name__ == "__main__":
    main()
