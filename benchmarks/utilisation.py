"""What share of the processor's matrix products training reaches: steps beside a large product, in the same process, in turns.

    python benchmarks/utilisation.py                             transformer, rnn and cnn at 10 million parameters
    python benchmarks/utilisation.py --arch gpt gru --parameters 800000

FLOPs by formula (3 times the forward's; causal attention counted as the half that it is), held against torch's own product of
two square matrices of 1,024. One thread, float32, 8 sequences of 256 bytes a step, eager.
"""

import argparse
from pathlib import Path

import shape
import torch
import turns
import yaml

from bench.config import Run, Size, Train
from bench.measure.peak import Peak
from bench.measure.subject import Subject

CONF = Path(__file__).resolve().parents[1] / "conf" / "arch"


def works(arch: str, parameters: int, context: int, batch: int) -> turns.Works:
    """A step and a product, in FLOPs."""
    options = yaml.safe_load((CONF / f"{arch}.yaml").read_text(encoding="utf-8"))
    run = Run(arch=options, size=Size(parameters, context), train=Train(batch=batch, device="cpu"))
    subject = Subject(run, 257)
    subject.objective.train()
    peak = Peak(subject.device, subject.plan.precision)
    first, second, result = peak.factors
    return {
        "step": (subject.step, 3 * subject.model.flops(context) * subject.step_tokens / 1e9),
        "product": (lambda: torch.mm(first, second, out=result), 2e-9 * first.shape[0] ** 3),
    }


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", nargs="+", default=["transformer", "rnn", "cnn"])
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn; a step takes longer")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        shape.settle()
        turns.serve(lambda: works(asked.inside, asked.parameters, asked.context, asked.batch))
    sizes = [f"--{name}={getattr(asked, name)}" for name in ("parameters", "context", "batch")]
    rates = turns.contest(__file__, asked.arch, sizes, asked.rounds, asked.seconds)
    turns.table(rates, {f"{arch}: step / product": ((arch, "step"), (arch, "product")) for arch in asked.arch}, "GFLOP/s")


if __name__ == "__main__":
    main()
