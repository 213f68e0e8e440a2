"""Writing with the GPT-2 shape, one sequence: the bench, through its one `forward` with state, beside Hugging Face's `generate`.

    python benchmarks/decoding.py --rounds 20

A token is given and the 63 after it are written, to the end of the context, greedily or drawn. float32, one thread.
"""

import argparse

import shape
import torch
import turns

from bench.evaluation.generation import generate_tokens

GIVEN = 1
WRITTEN = shape.CONTEXT - GIVEN


def bench() -> turns.Works:
    model = shape.ours().eval()
    kinds = {"greedy": 0.0, "drawn": 1.0}
    return {
        kind: (lambda heat=heat: generate_tokens(model, [1], WRITTEN, heat), float(WRITTEN))
        for kind, heat in kinds.items()
    }


def hugging_face() -> turns.Works:
    model, prompt = shape.hugging_face().eval(), torch.ones(1, GIVEN, dtype=torch.long)
    kinds = {"greedy": {"do_sample": False}, "drawn": {"do_sample": True, "top_k": 0}}
    both = {
        "attention_mask": torch.ones_like(prompt),
        "min_new_tokens": WRITTEN,
        "max_new_tokens": WRITTEN,
        "pad_token_id": 0,
    }

    def written(kind: str) -> None:
        assert model.generate(prompt, **both, **kinds[kind]).shape[1] == shape.CONTEXT

    return {kind: (lambda kind=kind: written(kind), float(WRITTEN)) for kind in kinds}


MAKERS = {"bench": bench, "bench again": bench, "hugging face": hugging_face}


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.2, help="of one turn")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        shape.settle()
        turns.serve(MAKERS[asked.inside])
    rates = turns.contest(__file__, list(MAKERS), [], asked.rounds, asked.seconds)
    pairs = {
        f"{kind}: {a} / {b}": ((a, kind), (b, kind))
        for kind in ("greedy", "drawn")
        for a, b in (("bench again", "bench"), ("bench", "hugging face"))
    }
    turns.table(rates, pairs, "tokens/s")


if __name__ == "__main__":
    main()
