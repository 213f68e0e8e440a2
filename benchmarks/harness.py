"""The whole harness beside a bare loop over the same model: what data, records, logging and progress cost.

    python benchmarks/harness.py --rounds 30

A run of the bench as `python -m bench.execution.worker` has it (its data read from the cache, a line of the curve and one of progress every
20 steps, the loss gathered), beside forward, backward, clipping and the same optimizer on batches at hand. The GPT-2 shape,
bytes, float32, one thread. Looks at the validation part are left out, being more work by design; so are the first steps, and
checkpoints, of which there is one in five minutes.
"""

import argparse
import logging
import random
import tempfile
from pathlib import Path

import shape
import torch
import turns
from torch import nn

from bench.cli.console import setup_logging
from bench.config.identity import run_name
from bench.config.schema import DataConfig, Run
from bench.execution import worker
from bench.model import build_model, count_parameters
from bench.records import store
from bench.training import optimizer

BYTES = 257  # the vocabulary of the tokenizer `bytes`
LOGGED = 20  # steps of a pass: what lies between two lines of the curve


def whole_run(folder: Path) -> Run:
    """The run that is trained, on a made-up text."""
    draw, text = random.Random(0), folder / "text.txt"
    text.write_text(
        " ".join(
            draw.choices(
                "the a small large red tree river stone walks sleeps sings".split(), k=100_000
            )
        )
    )
    run = shape.run(steps=20_000, validations=0, log_every=LOGGED)
    run.data = DataConfig(path=str(text), cache=str(folder / "cache"))
    run.size.parameters = count_parameters(
        build_model(run.arch, shape.WIDTH, shape.CONTEXT, BYTES, 0)
    )["parameters"]
    run.names = {"arch": "gpt", "data": "text"}
    return run


def harness() -> None:
    """Take turns within a run: where it says how far it is, it waits for its next turn."""
    with turns.channel() as answers, tempfile.TemporaryDirectory() as place:
        here, left = turns.Turns(answers, {"steps": float(LOGGED)}), 0

        def take_turns(record: logging.LogRecord) -> bool:
            nonlocal left
            if getattr(record, "progress", False):
                left -= 1
                if left == 0:
                    here.end()
                if left <= 0:
                    left = here.begin()[1]
            return True

        setup_logging()
        logging.getLogger(worker.__name__).addFilter(take_turns)
        run = whole_run(Path(place))
        folder = Path(place) / run_name(run)
        store.create_record(folder, run, {}, {"digests": {}})
        worker.train_and_score(run, folder)
        raise SystemExit("the run is over: fewer rounds, or shorter ones")


def bare() -> turns.Works:
    run = shape.run()
    model = build_model(run.arch, shape.WIDTH, shape.CONTEXT, BYTES, 0)
    chosen = optimizer.build_optimizer(model, run.optimizer, shape.RATE)

    def loss(tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(tokens)[0].flatten(0, 1), targets.flatten())

    return {"steps": (shape.loop(model, loss, chosen), 1.0)}


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        shape.settle()
        harness() if asked.inside == "harness" else turns.serve(bare)
    rates = turns.contest(
        __file__, ["bare", "bare again", "harness"], [], asked.rounds, asked.seconds
    )
    pairs = {
        f"{one} / bare": ((one, "steps"), ("bare", "steps")) for one in ("bare again", "harness")
    }
    turns.table(rates, pairs, "steps/s")


if __name__ == "__main__":
    main()
