"""Compare decoding of the GPT-2 shape, one sequence, with Hugging Face's `generate`.

    python benchmarks/decoding.py --rounds 20

One token is given and the 63 after it are generated, up to the context, greedily or sampled.
float32, one thread.
"""

from functools import partial
from typing import Any

import shape
import torch
import turns

from bench.evaluation.generation import generate_tokens

GIVEN = 1
GENERATED = shape.CONTEXT - GIVEN


def bench() -> turns.Works:
    """Generate with this project's model."""
    model = shape.bench_model().eval()
    kinds = {"greedy": 0.0, "sampled": 1.0}
    return {
        kind: (partial(generate_tokens, model, [1], GENERATED, heat), float(GENERATED))
        for kind, heat in kinds.items()
    }


def hugging_face() -> turns.Works:
    """Generate with transformers."""
    model, prompt = shape.hugging_face().eval(), torch.ones(1, GIVEN, dtype=torch.long)
    kinds: dict[str, dict[str, Any]] = {
        "greedy": {"do_sample": False},
        "sampled": {"do_sample": True, "top_k": 0},
    }
    lengths = {"min_new_tokens": GENERATED, "max_new_tokens": GENERATED}
    options: dict[str, Any] = {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0}
    options |= lengths

    def generate(kind: str) -> None:
        assert model.generate(prompt, **options, **kinds[kind]).shape[1] == shape.CONTEXT

    return {kind: (partial(generate, kind), float(GENERATED)) for kind in kinds}


MAKERS = {"bench": bench, "bench again": bench, "hugging face": hugging_face}


def main() -> None:
    """Take turns, print the table."""
    args = turns.parser(__doc__, rounds=60, seconds=0.2).parse_args()
    if args.inside:
        shape.set_process_state()
        turns.serve(MAKERS[args.inside])
    rates = turns.take_turns(__file__, list(MAKERS), [], args.rounds, args.seconds)
    pairs = {
        f"{kind}: {a} / {b}": ((a, kind), (b, kind))
        for kind in ("greedy", "sampled")
        for a, b in (("bench again", "bench"), ("bench", "hugging face"))
    }
    turns.print_table(rates, pairs, "tokens/s")


if __name__ == "__main__":
    main()
