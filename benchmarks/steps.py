"""Compare training steps of the GPT-2 shape with Hugging Face's GPT-2 and nanoGPT.

    python benchmarks/steps.py                                transformers (extra `huggingface`)
    python benchmarks/steps.py --nanogpt PATH_OF_A_CHECKOUT   nanoGPT too
    python benchmarks/steps.py --no-compile --rounds 10       a quick look

4 layers, 4 heads, 128 wide, context 64, batch 12, 65 characters, float32, dropout 0, gradients
clipped at 1, batches in memory. Hugging Face: a plain loop with torch.optim.AdamW. nanoGPT: its own
model and optimizer, with biases as GPT-2 and this project have them, and without, as in its CPU
recipe; its GELU is the exact one, GPT-2's the tanh form. All in the same environment (one thread,
memory in large pages), compiled ones by torch.compile's defaults. This project's step runs twice:
what it differs by from itself is the noise.
"""

from functools import partial
from pathlib import Path

import shape
import turns

EAGER = {
    "bench": partial(shape.bench_step, False),
    "bench again": partial(shape.bench_step, False),
    "hugging face": partial(shape.hugging_face_step, False),
    "hugging face fused": partial(shape.hugging_face_step, False, fused=True),
}
COMPILED = {
    "bench compiled": partial(shape.bench_step, True),
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


def nanogpt_makers(checkout: Path, compiled: bool) -> dict[str, partial[shape.Step]]:
    """Return what makes the steps of nanoGPT, eager and on request compiled, by name."""
    makers = {}
    for biases, name in ((True, "nanogpt with biases"), (False, "nanogpt")):
        makers[name] = partial(shape.nanogpt_step, checkout, False, biases)
        if compiled:
            makers[f"{name}, compiled"] = partial(shape.nanogpt_step, checkout, True, biases)
    return makers


def main() -> None:
    """Take turns, print the table."""
    parser = turns.parser(__doc__, rounds=60, seconds=0.3)
    parser.add_argument("--nanogpt", type=Path, help="the folder of a checkout of nanoGPT")
    parser.add_argument("--no-compile", action="store_true", help="eager ones only")
    args = parser.parse_args()
    makers = EAGER | ({} if args.no_compile else COMPILED)
    if args.nanogpt:
        makers |= nanogpt_makers(args.nanogpt, not args.no_compile)
    if args.inside:
        shape.set_process_state()
        turns.serve(lambda: {"steps": (makers[args.inside](), 1.0)})
    options = ["--nanogpt", str(args.nanogpt)] if args.nanogpt else []
    rates = turns.take_turns(__file__, list(makers), options, args.rounds, args.seconds)
    pairs = [pair for pair in PAIRS if set(pair) <= set(makers)]
    named = {f"{a} / {b}": ((a, "steps"), (b, "steps")) for a, b in pairs}
    turns.print_table(rates, named, "steps/s")


if __name__ == "__main__":
    main()
