"""What two processes train together in tests/test_ranks.py: `python -m tests.together OUT`, once for each rank."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.config.schema import ObjectiveConfig, Run, TrainConfig
from bench.config.schema import OptimizerConfig as Options
from bench.model.language_model import build_model as build_model
from bench.training import checkpoint, distributed, loop
from bench.training.checkpoint import Checkpointer, TrainState
from bench.training.objective import build_objective
from bench.training.optimizer import build_optimizer as build_optimizer
from tests.conftest import ROOT
from tests.test_train import ORIGIN, Numbers

STEPS = 50
# arch, optimizer, sharding, micro-batches alone, micro-batches of each rank
CASES: dict[str, tuple[str, str, str, int, int]] = {
    "recurrent": ("gru", "adamw", "none", 1, 1),
    "attention": ("transformer", "adamw", "none", 1, 1),
    "masked": ("bert", "adamw", "none", 1, 1),
    "muon": ("gru", "muon", "none", 1, 1),
    "micro-batches": ("gru", "adamw", "none", 1, 3),
    "auxiliary loss": (
        "moe",
        "adamw",
        "none",
        2,
        1,
    ),  # the loss of balance is one of a piece: cut alike, it is alike
    "recurrent in shards": ("gru", "adamw", "fsdp", 1, 1),
    "attention in shards": ("transformer", "adamw", "fsdp", 1, 1),
    "masked in shards": ("bert", "adamw", "fsdp", 1, 3),
    "auxiliary loss in shards": ("moe", "adamw", "fsdp", 2, 1),
}


def trained(
    case: str,
    team: distributed.ProcessGroup = distributed.SINGLE_PROCESS,
    folder: Path | None = None,
    first: int = 0,
) -> dict[str, Any]:
    """The losses and the weights of a case, by a team, with a checkpoint in a folder after half of its steps."""
    arch_name, kind, sharding, alone, each = CASES[case]
    arch = yaml.safe_load((ROOT / "conf" / "arch" / f"{arch_name}.yaml").read_text())
    accumulate = alone if team.size == 1 else each
    run = Run(
        arch=arch,
        train=TrainConfig(
            steps=STEPS, batch=6, log_every=10, warmup=5, accumulate=accumulate, learning_rate=3e-3
        ),
    )
    plan = replace(
        loop.train_settings(run), group=replace(team, sharded=sharding == "fsdp" and team.size > 1)
    )
    asked = build_objective(ObjectiveConfig(), build_model(arch, 16, 8, 5, seed=0))
    distributed.shard_parameters(asked, plan.group)
    chosen = build_optimizer(asked, Options(kind=kind), plan.learning_rate)
    place = TrainState()
    if first:
        assert folder is not None
        place = checkpoint.load_train_state(
            folder, asked, chosen, ORIGIN, lambda line: sys.exit(line)
        )
        assert place.step == first
    keeper = Checkpointer(lambda place: None, 1000.0, TrainState(), plan.group)

    def after(step: int, unlogged: torch.Tensor) -> None:
        keeper.after(step, unlogged, last=False)
        if step == STEPS // 2 + 2 and folder is not None and not first:  # between two logged steps
            nats, count = plan.group.whole(unlogged).tolist()
            checkpoint.save_train_state(
                folder, TrainState(step, 0.0, (nats, count)), asked, chosen, ORIGIN, plan.group
            )

    steps = list(
        loop.train(asked, chosen, Numbers(), plan, place.step, after=after, unlogged=place.unlogged)
    )
    weights = (
        distributed.gather_full(asked.state_dict()) if plan.group.sharded else asked.state_dict()
    )
    return {
        "nats": [step.nats for step in steps],
        "weights": {name: value.tolist() for name, value in weights.items()},
        "held": sum(
            p.to_local().numel() if hasattr(p, "to_local") else p.numel()
            for p in asked.parameters()
        ),
        "parameters": sum(p.numel() for p in asked.parameters()),
    }


def main(out: Path) -> None:
    torch.set_num_threads(1)
    team = distributed.join_process_group(torch.device("cpu"), "none")
    found = {case: trained(case, team, out / case) for case in CASES}
    (out / f"rank-{team.rank}.json").write_text(json.dumps(found))
    team.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
