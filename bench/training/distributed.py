"""Several processes that train one model: who is which, what they agree on, how it is wrapped. Alone, all this does nothing."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.config.errors import UserError
from bench.system.host import RENDEZVOUS
from bench.training.objective import Batch
from bench.training.optimizer import OptimizerLike

TIMEOUT = timedelta(
    minutes=60
)  # that a process waits for the others: the first one may score or save meanwhile


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one model together, seen from one of them: its rank. Rank 0 writes the records."""

    rank: int = 0
    size: int = 1
    sharded: bool = False  # each holds a part of the weights and of the optimizer's state (FSDP2), in place of all (DDP)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """The rows of a global batch that are this process's."""
        return batch.split(self.size)[self.rank]

    def whole(self, sums: Tensor) -> Tensor:
        """(nats, count) of all: the nats are summed, the count is of the global batch, which every process knows."""
        if self.size == 1:
            return sums
        summed = sums.clone()
        dist.all_reduce(summed[:1])
        return summed

    def most(self, value: int) -> int:
        """The largest of what each process says, by way of the processor: no device is waited for."""
        if self.size == 1:
            return value
        said = torch.tensor(value)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return int(said)

    def wait(self) -> None:
        """Until all have come here."""
        self.most(0)

    def agree(self, what: dict[str, Any]) -> None:
        """Raise UserError where the processes do not have the same, as when their machines read different texts."""
        if self.size == 1:
            return
        said: list[Any] = [None] * self.size
        dist.all_gather_object(said, what)
        for rank, other in enumerate(said):
            if other != said[0]:
                unlike = ", ".join(name for name in said[0] if other.get(name) != said[0][name])
                raise UserError(
                    f"rank {rank} has another {unlike} than rank 0: give all machines the same files and folders"
                )

    def door(self, objective: nn.Module) -> nn.Module:
        """What training calls in place of the objective: its gradients are the sums over all processes."""
        if self.size == 1 or self.sharded:
            return objective
        wrapped = DistributedDataParallel(objective, gradient_as_bucket_view=True)
        wrapped.register_comm_hook(None, _sum_gradients)
        return wrapped

    def leave(self) -> None:
        """Go on alone: what is left to do is the first one's."""
        if self.size > 1:
            dist.destroy_process_group()


SINGLE_PROCESS = ProcessGroup()


def is_main_process() -> bool:
    """Whether this process writes the record of its run: it is alone, or rank 0."""
    return RENDEZVOUS not in os.environ or os.environ["RANK"] == "0"


def join_process_group(device: torch.device, sharding: str) -> ProcessGroup:
    """The team of this process's run: as many as were started for it, which meet where the environment says."""
    if RENDEZVOUS not in os.environ:
        return SINGLE_PROCESS
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(
                f"rank {rank} has no CUDA device of its own: there are {torch.cuda.device_count()} on its machine"
            )
        torch.cuda.set_device(local)
    kind, _, where = os.environ[RENDEZVOUS].partition(":")
    if kind == "file":
        store: Any = dist.FileStore(where, size)  # type: ignore[attr-defined]
    else:
        store = dist.PrefixStore(f"run {where}", torchrun_store())  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    return ProcessGroup(rank, size, sharding == "fsdp")


def torchrun_store() -> Any:
    """The board that torchrun keeps, on which processes of several machines leave each other messages."""
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(*where, is_master=False, timeout=timedelta(days=30))  # type: ignore[attr-defined]


def _sum_gradients(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Sums, where DDP would take means: the loss is divided by the global count already."""
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def no_sync(door: nn.Module, last: bool) -> AbstractContextManager:
    """While this lasts, gradients of a micro-batch that is not the last stay here."""
    return (
        door.no_sync() if isinstance(door, DistributedDataParallel) and not last else nullcontext()
    )


# --- weights in shards ------------------------------------------------------------------------------------------------


def shard_parameters(objective: nn.Module, team: ProcessGroup) -> None:
    """Spread a module's parameters over the team, in place (FSDP2): whole ones exist only within a step."""
    if not team.sharded:
        return
    from torch.distributed.fsdp import fully_shard

    sharded = fully_shard(objective)
    sharded.set_gradient_divide_factor(1.0)  # sums, as above
    sharded.set_force_sum_reduction_for_comms(True)
    sharded.set_reduce_scatter_unused_params(
        True
    )  # an expert that no token of this process went to


def gather_full(tree: Any) -> Any:
    """A tree of states with every shard made whole, on the processor. All processes have to call it together."""
    if isinstance(tree, dict):
        return type(tree)((key, gather_full(value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)(gather_full(value) for value in tree)
    return tree.full_tensor().cpu() if hasattr(tree, "full_tensor") else tree


def load_states(module: nn.Module, optimizer: OptimizerLike, saved: dict[str, Any]) -> None:
    """Load whole states, {"module": …, "optimizer": …}, each process its shards of them."""
    now = module.state_dict()
    module.load_state_dict(
        {name: _distribute_like(value, now.get(name)) for name, value in saved["module"].items()}
    )
    state = saved["optimizer"]
    if "state" in state:
        parameters = [
            parameter for group in optimizer.param_groups for parameter in group["params"]
        ]
        each = {
            n: {k: _distribute_like(v, parameters[n]) for k, v in found.items()}
            for n, found in state["state"].items()
        }
        state = state | {"state": each}
    optimizer.load_state_dict(state)


def _distribute_like(value: Any, placed: Any) -> Any:
    if (
        not hasattr(placed, "placements")
        or not isinstance(value, Tensor)
        or value.shape != placed.shape
    ):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(
        value.to(placed.device), placed.device_mesh, placed.placements, src_data_rank=None
    )
