"""Measure the seconds of full trainings, and their loss: by default nanoGPT's recipe for a GPU.

    python benchmarks/target.py --text shakespeare.txt
    python benchmarks/target.py --text shakespeare.txt --target 1.6 --seeds 1 train.device=cpu

nanoGPT trains 10.65M parameters (6 layers, 384 wide, context 256, dropout 0.2) on batches of 64 to
1.4697 nats on the last tenth of tiny Shakespeare. Timed is training from first to last
step, with an idle device before and after; compiling and the loss of the full last tenth are
printed too. Nothing else should use the device.
"""

import argparse
import tempfile
from pathlib import Path

import quality
import torch

from bench.config.schema import Run
from bench.training import precision_name, train_settings

NATS = 1.4697  # nanoGPT's
RECIPE = (
    "size.parameters=10660000 size.context=256 arch.layers=6 arch.heads=6 arch.dropout=0.2 "
    "train.batch=64 train.steps=1000 train.learning_rate=2e-3 train.warmup=50 "
    "train.compile=default optimizer=adamw optimizer.weight_decay=0.1"
).split()


def train_and_print(run: Run, target: float) -> None:
    """Train a run; print its loss, whether that reaches the target, and the times."""
    settings = train_settings(run)
    cuda = settings.device.type == "cuda"
    device = torch.cuda.get_device_name() if cuda else "one thread of a CPU"
    seconds, compiling, nats = quality.train_run(run)
    verdict = "reached" if nats <= target else "missed"
    title = f"{run.names['arch']}, seed {run.seed}, {settings.steps} steps, {device}"
    print(
        f"{title}, {precision_name(settings)}: {nats:.4f} nats, {target} {verdict}, "
        f"{seconds:.1f} s of training, {compiling:.1f} s of compiling",
        flush=True,
    )


def main() -> None:
    """Train with each seed, print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--text", type=Path, required=True, help="tiny Shakespeare as one file")
    parser.add_argument("--target", type=float, default=NATS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of the recipe: arch=gpt train.steps=500 …")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(args.seeds):
            run = quality.compose_run(args.text, [*RECIPE, *args.overrides], seed, cache)
            train_and_print(run, args.target)


if __name__ == "__main__":
    main()
