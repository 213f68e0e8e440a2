r"""Measure which share of a device's matrix-product rate training reaches.

    python benchmarks/utilisation.py                     transformer, rnn and cnn, 10M parameters
    python benchmarks/utilisation.py --arch gpt gru --parameters 800000
    python benchmarks/utilisation.py --device cuda --arch gpt --options layers=12 heads=12 \
        --parameters 124475904 --vocabulary 50304 --context 1024 --batch 32 --compile default

Steps and a large product take turns in one process. FLOPs by formula (3 times the forward's; causal
attention counted as half the square), compared with torch's product of two square matrices in the
precision of training: of 1,024 on a CPU, 8,192 on CUDA. One thread; on a CPU float32, 8 sequences
of 256 bytes per step, eager; on CUDA bfloat16, and the most memory that was allocated.
"""

import argparse
import sys

import shape
import torch
import turns
import yaml

from bench.config.schema import Run, SizeConfig, TrainConfig
from bench.performance.hardware_peak import HardwarePeak
from bench.performance.timing import synchronise
from bench.performance.workload import Workload

PRODUCTS = {"cpu": 1, "cuda": 50}  # per call: waiting for the device would lower its peak
SIZES = ("parameters", "context", "batch", "vocabulary", "device", "compile")


def make_workload(arch: str, args: argparse.Namespace) -> Workload:
    """Return an architecture of the size, on the device, in training mode."""
    pairs = (option.partition("=")[::2] for option in args.options)
    options = {name: yaml.safe_load(value) for name, value in pairs}
    recipe = TrainConfig(batch=args.batch, device=args.device, compile=args.compile)
    size = SizeConfig(args.parameters, args.context)
    run = Run(arch=shape.read_arch(arch, **options), size=size, train=recipe)
    ready = Workload(run, args.vocabulary)
    ready.objective.train()
    return ready


def works(arch: str, args: argparse.Namespace) -> turns.Works:
    """Return a step and products, in FLOPs."""
    ready = make_workload(arch, args)
    first, second, result = HardwarePeak(ready.device, ready.settings.precision).factors
    products = PRODUCTS[ready.device.type]

    def step() -> None:
        ready.step()
        synchronise(ready.device)

    def product() -> None:
        for _ in range(products):
            torch.mm(first, second, out=result)
        synchronise(ready.device)

    step()
    step()
    if ready.device.type == "cuda":
        card, most = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated()
        print(f"{arch}, {card}: at most {most:,} bytes allocated", file=sys.stderr)
    flops = 3 * ready.model.flops(args.context) * args.batch * args.context
    return {
        "step": (step, flops / 1e9),
        "product": (product, products * 2e-9 * first.shape[0] ** 3),
    }


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = turns.parser(__doc__, rounds=12, seconds=1.0)
    parser.add_argument("--arch", nargs="+", default=["transformer", "rnn", "cnn"])
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=257)
    parser.add_argument(
        "--options", nargs="*", default=[], help="of the architectures: layers=12 …"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", default="none", choices=["none", "default", "reduce-overhead"])
    return parser.parse_args()


def main() -> None:
    """Take turns, print the table."""
    args = parse_arguments()
    if args.inside:
        shape.set_process_state()
        turns.serve(lambda: works(args.inside, args))
    options = [f"--{name}={getattr(args, name)}" for name in SIZES]
    options += ["--options", *args.options]
    rates = turns.take_turns(__file__, args.arch, options, args.rounds, args.seconds)
    pairs = {f"{arch}: step / product": ((arch, "step"), (arch, "product")) for arch in args.arch}
    turns.print_table(rates, pairs, "GFLOP/s")


if __name__ == "__main__":
    main()
