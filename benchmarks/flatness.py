"""Compare the cost of a further token after 128 tokens and after 8,192, for constant states.

    python benchmarks/flatness.py
    python benchmarks/flatness.py --arch rnn mamba2 --rounds 60

0.8 million parameters, one sequence, float32, one thread, through the one `forward`. States are
made beforehand by reading so many tokens; every round continues a copy of each for 16 tokens, in
random order.
"""

import random
import sys
import time

import numpy as np
import shape
import torch
import turns
from mixers import VOCABULARY, workload
from torch.utils import _pytree as pytree

from architectures.interface import State, Unsupported
from bench.model import LanguageModel

LENGTHS = (128, 512, 2048, 8192)
FURTHER = 16


def state_is_constant(model: LanguageModel) -> bool:
    """Return whether there is a state, and its size does not depend on the length."""
    backbone = model.backbone
    try:
        states = [model.init_state(1, length) for length in (LENGTHS[0], LENGTHS[-1])]
    except Unsupported:
        return False
    return len({backbone.state_bytes(state) for state in states}) == 1


def copy_state(state: State) -> State:
    """Return a state with copied tensors."""
    return pytree.tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, state)


def token_rates(model: LanguageModel, state: State) -> tuple[float, float]:
    """Return tokens per second by both clocks, from a copy of a state."""
    state, token = copy_state(state), torch.ones(1, 1, dtype=torch.long)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(FURTHER):
        _, state = model(token, state)
    return FURTHER / (time.perf_counter() - wall), FURTHER / (time.process_time() - cpu)


def time_lengths(model: LanguageModel, rounds: int) -> dict[int, np.ndarray]:
    """Return the rates at each length, (rounds, 2)."""
    order = random.Random(0)
    samples, states = dict[int, list[tuple[float, float]]](), dict[int, State]()
    text = torch.randint(VOCABULARY, (1, LENGTHS[-1]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for length in LENGTHS:
            empty = model.init_state(1, LENGTHS[-1] + FURTHER)
            states[length] = model(text[:, :length], empty)[1]
        for number in range(rounds + 1):
            for length in order.sample(LENGTHS, len(LENGTHS)):
                rates = token_rates(model, states[length])
                if number:
                    samples.setdefault(length, []).append(rates)
    return {length: np.array(rates) for length, rates in samples.items()}


def print_rates(rates: turns.Rates) -> None:
    """Print the rates, and for each architecture those of longer texts over those of the first."""
    pairs = {
        f"{name}: {n} / {LENGTHS[0]}": ((name, str(n)), (name, str(LENGTHS[0])))
        for name in dict.fromkeys(name for name, _ in rates)
        for n in LENGTHS[1:]
    }
    turns.print_table(rates, pairs, "tokens/s")


def main() -> None:
    """Take turns, print the table."""
    parser = turns.parser(__doc__, rounds=40, seconds=0)  # a turn is 16 tokens
    parser.add_argument("--arch", nargs="+", help="these only")
    parser.add_argument("--parameters", type=int, default=800_000)
    args = parser.parse_args()
    shape.set_process_state()
    rates = turns.Rates()
    for name in args.arch or sorted(path.stem for path in shape.CONF.glob("*.yaml")):
        model = workload(name, args.parameters, shape.CONTEXT).model.eval()
        if model.backbone.causal and state_is_constant(model):
            print(f"\r{name:<20}", end="", file=sys.stderr, flush=True)
            by_length = time_lengths(model, args.rounds)
            rates |= {(name, str(length)): values for length, values in by_length.items()}
    print(file=sys.stderr)
    print_rates(rates)


if __name__ == "__main__":
    main()
