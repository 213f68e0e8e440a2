"""Compare decoding, eager and compiled, with Hugging Face's `generate`: one sequence, greedily.

    python benchmarks/decoding.py --rounds 20
    python benchmarks/decoding.py --arch gpt mamba2 --cache steps

`generate` writes with GPT-2 of the shape: 4 layers, 4 heads, 128 wide, context 64, 65 characters;
the architectures have its number of parameters. One token is given and the 63 after it are
generated, up to the context. float32, one thread. A step is compiled at its first use (15 to 50 s).
"""

from collections.abc import Sequence
from functools import partial

import shape
import torch
import turns

from bench.config.schema import Run, SizeConfig
from bench.evaluation.generation import generate_tokens
from bench.model import build_sized_model
from bench.model.decoding import compiled_step

GIVEN = 1
GENERATED = shape.CONTEXT - GIVEN
PEER, FORMS = "hugging face", ("eager", "compiled")
EAGER, COMPILED = FORMS


def sized_run(arch: str) -> Run:
    """Return the run of an architecture with the parameters of the shape."""
    parameters = sum(each.numel() for each in shape.bench_model().parameters())
    return Run(arch=shape.read_arch(arch), size=SizeConfig(parameters, shape.CONTEXT))


def bench(arch: str, form: str, cache: str) -> turns.Works:
    """Generate with this project's model."""
    run = sized_run(arch)
    model = build_sized_model(run, shape.VOCABULARY, torch.device("cpu")).eval()
    decoder = compiled_step(model, run.arch, root=cache) if form == COMPILED else model
    return {"greedy": (partial(generate_tokens, decoder, [1], GENERATED, 0.0), float(GENERATED))}


def hugging_face() -> turns.Works:
    """Generate with transformers."""
    model, prompt = shape.hugging_face().eval(), torch.ones(1, GIVEN, dtype=torch.long)
    options = {
        "attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "do_sample": False,
        "min_new_tokens": GENERATED, "max_new_tokens": GENERATED,
    }  # fmt: skip

    def generate() -> None:
        assert model.generate(prompt, **options).shape[1] == shape.CONTEXT

    return {"greedy": (generate, float(GENERATED))}


def contenders(archs: Sequence[str]) -> list[str]:
    """Return the names of all contenders, the first form of the first architecture twice."""
    forms = [f"{arch} {form}" for arch in archs for form in FORMS]
    return [PEER, *forms, f"{forms[0]} again"]


def pairs(archs: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of contenders whose rates are divided."""
    over_peer = [(f"{arch} {form}", PEER) for arch in archs for form in FORMS]
    over_eager = [(f"{arch} {COMPILED}", f"{arch} {EAGER}") for arch in archs]
    again = f"{archs[0]} {EAGER}"
    return [(f"{again} again", again), *over_peer, *over_eager]


def main() -> None:
    """Take turns, print the table."""
    parser = turns.parser(__doc__, rounds=40, seconds=0.2)
    parser.add_argument("--arch", nargs="+", default=["gpt", "transformer", "rnn", "cnn"])
    parser.add_argument("--cache", default="", help="folder that keeps compiled steps")
    args = parser.parse_args()
    if args.inside:
        shape.set_process_state()
        arch, form = args.inside.split()[:2]
        works = hugging_face if args.inside == PEER else partial(bench, arch, form, args.cache)
        turns.serve(works)
    names = contenders(args.arch)
    options = ["--cache", args.cache] if args.cache else []
    rates = turns.take_turns(__file__, names, options, args.rounds, args.seconds)
    named = {f"{a} / {b}": ((a, "greedy"), (b, "greedy")) for a, b in pairs(args.arch)}
    turns.print_table(rates, named, "tokens/s")


if __name__ == "__main__":
    main()
