"""Train the cases of test_distributed.py, once per rank.

`python -m tests.training.distributed_cases OUT`
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.config.schema import ObjectiveConfig, OptimizerConfig, Run, TrainConfig
from bench.model import build_model
from bench.training import (
    SINGLE_PROCESS,
    ProcessGroup,
    TrainState,
    build_objective,
    build_optimizer,
    checkpoint,
    gather_full,
    shard_parameters,
    train,
    train_settings,
)
from bench.training.distributed import join_process_group
from tests.conftest import ROOT
from tests.training.toy import ORIGIN, PatternBlocks

STEPS = 50
# arch, optimizer, sharding, micro-batches of one process, micro-batches of each rank
CASES: dict[str, tuple[str, str, str, int, int]] = {
    "recurrent": ("gru", "adamw", "none", 1, 1),
    "attention": ("transformer", "adamw", "none", 1, 1),
    "masked": ("bert", "adamw", "none", 1, 1),
    "muon": ("gru", "muon", "none", 1, 1),
    "micro-batches": ("gru", "adamw", "none", 1, 3),
    # the balance loss is that of a piece: it is the same where the pieces are
    "auxiliary loss": ("moe", "adamw", "none", 2, 1),
    "recurrent in shards": ("gru", "adamw", "fsdp", 1, 1),
    "attention in shards": ("transformer", "adamw", "fsdp", 1, 1),
    "masked in shards": ("bert", "adamw", "fsdp", 1, 3),
    "auxiliary loss in shards": ("moe", "adamw", "fsdp", 2, 1),
}


def train_case(
    case: str,
    group: ProcessGroup = SINGLE_PROCESS,
    folder: Path | None = None,
    first: int = 0,
) -> dict[str, Any]:
    """Return the losses and weights of a case; save a checkpoint in a folder after half its steps.

    `first`: resume from that checkpoint, which has so many steps.
    """
    name, kind, sharding, alone, each = CASES[case]
    arch = yaml.safe_load((ROOT / "conf" / "arch" / f"{name}.yaml").read_text(encoding="utf-8"))
    accumulate = alone if group.size == 1 else each
    recipe = TrainConfig(
        steps=STEPS, batch=6, log_every=10, warmup=5, accumulate=accumulate, learning_rate=3e-3
    )
    group = replace(group, sharded=sharding == "fsdp" and group.size > 1)
    settings = replace(train_settings(Run(arch=arch, train=recipe)), group=group)
    objective = build_objective(ObjectiveConfig(), build_model(arch, 16, 8, 5, seed=0))
    shard_parameters(objective, group)
    optimizer = build_optimizer(objective, OptimizerConfig(kind=kind), settings.learning_rate)
    start, nats = TrainState(), []
    if first:
        assert folder is not None
        start = checkpoint.load_train_state(folder, objective, optimizer, ORIGIN)
        assert start.step == first

    def due(step: int) -> bool:
        return folder is not None and not first and step == STEPS // 2 + 2  # not a logged step

    for event in train(objective, optimizer, PatternBlocks(), settings, start, due):
        if event.log:
            nats.append(event.log.nats)
        if event.checkpoint_due:
            total, count = group.all_reduce_sum(event.unlogged).tolist()
            state = TrainState(event.step, 0.0, (total, count))
            checkpoint.save_train_state(folder, state, objective, optimizer, ORIGIN, group)
    parameters = list(objective.parameters())
    weights = gather_full(objective.state_dict()) if group.sharded else objective.state_dict()
    return {
        "nats": nats,
        "weights": {name: value.tolist() for name, value in weights.items()},
        "held": sum((p.to_local() if group.sharded else p).numel() for p in parameters),
        "parameters": sum(p.numel() for p in parameters),
    }


def main(out: Path) -> None:
    """Train all cases in this rank; write its results."""
    torch.set_num_threads(1)
    group = join_process_group(torch.device("cpu"), "none")
    results = {case: train_case(case, group, out / case) for case in CASES}
    (out / f"rank-{group.rank}.json").write_text(json.dumps(results))
    group.destroy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
