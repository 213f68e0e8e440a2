"""Training steps of the GPT-2 shape: this bench beside the Hugging Face GPT-2 and nanoGPT, eager and compiled.

    python benchmarks/steps.py                                   against transformers (installed with the extra `huggingface`)
    python benchmarks/steps.py --nanogpt PATH_OF_A_CHECKOUT      against nanoGPT too
    python benchmarks/steps.py --no-compile --rounds 10          a quick look

4 layers, 4 heads, 128 wide, context 64, batch 12, 65 characters, float32, dropout 0, gradients clipped at 1, batches at hand.
Hugging Face: a plain loop with torch.optim.AdamW as it comes. nanoGPT: its own model and optimizer, with biases as GPT-2 and the
bench's have them, and without, as in its CPU recipe; its GELU is the exact one, GPT-2's goes by a tanh. All in the
same environment (one thread, memory kept in large pages), compiled ones by torch.compile as it comes. The bench sits twice: what
it differs by from itself is the noise.
"""

import argparse
from functools import partial
from pathlib import Path

import shape
import turns

EAGER = {"bench": partial(shape.our_step, False), "bench again": partial(shape.our_step, False)}
EAGER |= {"hugging face": partial(shape.hugging_face_step, False)}
EAGER |= {"hugging face fused": partial(shape.hugging_face_step, False, fused=True)}
COMPILED = {
    "bench compiled": partial(shape.our_step, True),
    "hugging face compiled": partial(shape.hugging_face_step, True),
}
PAIRS = [
    ("bench again", "bench"),
    ("bench", "hugging face"),
    ("bench", "hugging face fused"),
    ("bench compiled", "hugging face"),
    ("bench compiled", "hugging face compiled"),
    ("bench", "nanogpt with biases"),
    ("bench", "nanogpt"),
    ("bench compiled", "nanogpt with biases, compiled"),
    ("bench compiled", "nanogpt, compiled"),
    ("bench compiled", "bench"),
]


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nanogpt", type=Path, help="the folder of a checkout of nanoGPT")
    parser.add_argument("--no-compile", action="store_true", help="eager ones alone")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one turn")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    makers = EAGER | ({} if asked.no_compile else COMPILED)
    if asked.nanogpt:
        for biases, name in ((True, "nanogpt with biases"), (False, "nanogpt")):
            makers[name] = partial(shape.nanogpt_step, asked.nanogpt, False, biases)
            if not asked.no_compile:
                makers[f"{name}, compiled"] = partial(
                    shape.nanogpt_step, asked.nanogpt, True, biases
                )
    if asked.inside:
        shape.settle()
        turns.serve(lambda: {"steps": (makers[asked.inside](), 1.0)})
    options = ["--nanogpt", str(asked.nanogpt)] if asked.nanogpt else []
    rates = turns.contest(__file__, list(makers), options, asked.rounds, asked.seconds)
    pairs = [pair for pair in PAIRS if all(one in makers for one in pair)]
    turns.table(rates, {f"{a} / {b}": ((a, "steps"), (b, "steps")) for a, b in pairs}, "steps/s")


if __name__ == "__main__":
    main()
