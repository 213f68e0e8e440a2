"""What share of a device's matrix products training reaches: steps beside a large product, in the same process, in turns.

    python benchmarks/utilisation.py                             transformer, rnn and cnn at 10 million parameters
    python benchmarks/utilisation.py --arch gpt gru --parameters 800000
    python benchmarks/utilisation.py --device cuda --arch gpt --options layers=12 heads=12 --parameters 124475904 \\
        --vocabulary 50304 --context 1024 --batch 32 --compile default

FLOPs by formula (3 times the forward's; causal attention counted as the half that it is), held against torch's own product of
two square matrices in the precision of training: of 1,024 on a processor, 8,192 on CUDA. One thread; on a processor float32, 8
sequences of 256 bytes a step, eager; on CUDA bfloat16, with the most that the allocator had given out told beside.
"""

import argparse
import sys
from pathlib import Path

import shape
import torch
import turns
import yaml

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.performance import timing
from bench.performance.hardware_peak import HardwarePeak
from bench.performance.workload import Workload

CONF = Path(__file__).resolve().parents[1] / "conf" / "arch"


PRODUCTS = {
    "cpu": 1,
    "cuda": 50,
}  # a pass: waiting for the device between single ones would make its peak look lower


def works(arch: str, asked: argparse.Namespace) -> turns.Works:
    """A step and products, in FLOPs."""
    options = yaml.safe_load((CONF / f"{arch}.yaml").read_text(encoding="utf-8"))
    options |= {
        name: yaml.safe_load(value)
        for name, _, value in (word.partition("=") for word in asked.options)
    }
    recipe = TrainConfig(batch=asked.batch, device=asked.device, compile=asked.compile)
    subject = Workload(
        Run(arch=options, size=SizeConfig(asked.parameters, asked.context), train=recipe),
        asked.vocabulary,
    )
    subject.objective.train()
    peak = HardwarePeak(subject.device, subject.settings.precision)
    first, second, result = peak.factors
    products = PRODUCTS[subject.device.type]

    def step() -> None:
        subject.step()
        timing.synchronise(subject.device)

    def product() -> None:
        for _ in range(products):
            torch.mm(first, second, out=result)
        timing.synchronise(subject.device)

    step()
    step()
    if subject.device.type == "cuda":
        card = torch.cuda.get_device_name(subject.device)
        most = torch.cuda.max_memory_allocated(subject.device)
        print(
            f"{arch}, {card}, width {subject.model.backbone.width}: at most {most:,} bytes allocated",
            file=sys.stderr,
        )
    return {
        "step": (step, 3 * subject.model.flops(asked.context) * subject.step_tokens / 1e9),
        "product": (product, products * 2e-9 * first.shape[0] ** 3),
    }


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--arch", nargs="+", default=["transformer", "rnn", "cnn"])
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=257)
    parser.add_argument(
        "--options", nargs="*", default=[], help="of the architectures: layers=12 heads=12 …"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", default="none", choices=["none", "default", "reduce-overhead"])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of one turn; a step takes longer"
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        shape.settle()
        turns.serve(lambda: works(asked.inside, asked))
    sizes = [
        f"--{name}={getattr(asked, name)}"
        for name in ("parameters", "context", "batch", "vocabulary", "device", "compile")
    ]
    sizes += ["--options", *asked.options]
    rates = turns.contest(__file__, asked.arch, sizes, asked.rounds, asked.seconds)
    turns.table(
        rates,
        {f"{arch}: step / product": ((arch, "step"), (arch, "product")) for arch in asked.arch},
        "GFLOP/s",
    )


if __name__ == "__main__":
    main()
