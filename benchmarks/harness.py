"""Compare the full harness with a bare loop over the same model: the cost of data and records.

    python benchmarks/harness.py --rounds 30

A run as `python -m bench.execution.worker` does it (its data read from the cache, a curve row and a
progress line every 20 steps, the loss gathered), beside forward, backward, clipping and the same
optimizer on batches in memory. The GPT-2 shape, bytes, float32, one thread. Validations are left
out, being more work by design; so are the first steps, and checkpoints, one in five minutes.
"""

import logging
import random
import tempfile
from pathlib import Path

import shape
import torch
import turns
from torch import nn

from bench.config.identity import run_name
from bench.config.schema import DataConfig, Run
from bench.execution import worker
from bench.model import build_model, count_parameters
from bench.records import store
from bench.training import build_optimizer

BYTES = 257  # the vocabulary of the tokenizer `bytes`
LOG_EVERY = 20  # steps between two rows of the curve
WORDS = "the a small large red tree river stone walks sleeps sings".split()


def harness_run(folder: Path) -> Run:
    """Return the run, on an artificial text."""
    text = folder / "text.txt"
    text.write_text(" ".join(random.Random(0).choices(WORDS, k=100_000)), encoding="utf-8")
    run = shape.run(steps=20_000, validations=0, log_every=LOG_EVERY)
    run.data = DataConfig(path=str(text), cache=str(folder / "cache"))
    model = build_model(run.arch, shape.WIDTH, shape.CONTEXT, BYTES, 0)
    run.size.parameters = count_parameters(model)["parameters"]
    run.names = {"arch": "gpt", "data": "text"}
    return run


class TurnHandler(logging.Handler):
    """Wait for the next turn at each progress line of a run."""

    def __init__(self, turns_: turns.TurnTaker) -> None:
        super().__init__()
        self.turns, self.left = turns_, 0

    def emit(self, record: logging.LogRecord) -> None:
        """End the turn after its last progress line, and begin the next one."""
        if getattr(record, "progress", False):
            self.left -= 1
            if self.left == 0:
                self.turns.end()
            if self.left <= 0:
                self.left = self.turns.begin()[1]


def harness() -> None:
    """Take turns within a run."""
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    with turns.answer_stream() as answers, tempfile.TemporaryDirectory() as folder:
        logger.addHandler(TurnHandler(turns.TurnTaker(answers, {"steps": float(LOG_EVERY)})))
        run = harness_run(Path(folder))
        record = Path(folder) / run_name(run)
        store.create_record(record, run, {}, {"digests": {}})
        worker.train_and_score(run, record)
        raise SystemExit("the run is over: use fewer rounds, or shorter ones")


def bare() -> turns.Works:
    """Return a bare training step."""
    run = shape.run()
    model = build_model(run.arch, shape.WIDTH, shape.CONTEXT, BYTES, 0)
    optimizer = build_optimizer(model, run.optimizer, shape.RATE)

    def loss(tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(tokens)[0].flatten(0, 1), targets.flatten())

    return {"steps": (shape.plain_step(model, loss, optimizer), 1.0)}


def main() -> None:
    """Take turns, print the table."""
    args = turns.parser(__doc__, rounds=40, seconds=1.0).parse_args()
    if args.inside:
        shape.set_process_state()
        harness() if args.inside == "harness" else turns.serve(bare)
    names = ["bare", "bare again", "harness"]
    rates = turns.take_turns(__file__, names, [], args.rounds, args.seconds)
    bare_steps = ("bare", "steps")
    pairs = {f"{name} / bare": ((name, "steps"), bare_steps) for name in names[1:]}
    turns.print_table(rates, pairs, "steps/s")


if __name__ == "__main__":
    main()
