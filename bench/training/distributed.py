"""Train one model in several processes: ranks, collectives, DDP and FSDP2 wrapping.

In a single process all of this does nothing.
"""

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

TIMEOUT = timedelta(minutes=60)  # of a collective: rank 0 may score or save meanwhile


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one model, seen from one of them. Rank 0 writes the record."""

    rank: int = 0
    size: int = 1
    sharded: bool = False  # FSDP2: each holds a shard of weights and optimizer state; else DDP

    @property
    def is_main(self) -> bool:
        """Return whether this is rank 0."""
        return self.rank == 0

    def shard(self, batch: Batch) -> Batch:
        """Return the rows of a global batch that belong to this rank."""
        return batch.split(self.size)[self.rank]

    def all_reduce_sum(self, sums: Tensor) -> Tensor:
        """Return (nats, count): the nats summed over ranks, the count as it is (it is global)."""
        if self.size == 1:
            return sums
        summed = sums.clone()
        dist.all_reduce(summed[:1])
        return summed

    def all_reduce_max(self, value: int) -> int:
        """Return the largest value of all ranks, reduced on the CPU: no device is waited for."""
        if self.size == 1:
            return value
        largest = torch.tensor(value)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.all_reduce_max(0)

    def check_consistent(self, values: dict[str, Any]) -> None:
        """Raise UserError where ranks differ, as when their machines read different texts."""
        if self.size == 1:
            return
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, values)
        first = gathered[0]
        for rank, other in enumerate(gathered):
            if other != first:
                unlike = ", ".join(name for name in first if other.get(name) != first[name])
                raise UserError(
                    f"rank {rank} has another {unlike} than rank 0: "
                    "give all machines the same files and folders",
                    "conflicting-values",
                )

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Return the module to train: its gradients are summed over ranks."""
        if self.size == 1 or self.sharded:
            return objective
        wrapped = DistributedDataParallel(objective, gradient_as_bucket_view=True)
        wrapped.register_comm_hook(None, _sum_gradients)
        return wrapped

    def destroy(self) -> None:
        """End the group: what follows is done by rank 0 alone."""
        if self.size > 1:
            dist.destroy_process_group()


SINGLE_PROCESS = ProcessGroup()


def is_main_process() -> bool:
    """Return whether this process writes the record of its run: a single process, or rank 0."""
    return RENDEZVOUS not in os.environ or os.environ["RANK"] == "0"


def join_process_group(device: torch.device, sharding: str) -> ProcessGroup:
    """Join the processes of this run through the rendezvous that the environment names."""
    if RENDEZVOUS not in os.environ:
        return SINGLE_PROCESS
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if device.type == "cuda":
        if local >= (count := torch.cuda.device_count()):
            raise UserError(
                f"rank {rank} has no CUDA device of its own: there are {count} on its machine",
                "unavailable-device",
            )
        torch.cuda.set_device(local)
    kind, _, address = os.environ[RENDEZVOUS].partition(":")
    if kind == "file":
        store: Any = dist.FileStore(address, size)  # type: ignore[attr-defined]
    else:
        store = dist.PrefixStore(f"run {address}", torchrun_store())  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    return ProcessGroup(rank, size, sharding == "fsdp")


def torchrun_store() -> Any:
    """Return the key-value store that torchrun serves to the processes of all machines."""
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    month = timedelta(days=30)
    return dist.TCPStore(*address, is_master=False, timeout=month)  # type: ignore[attr-defined]


def _sum_gradients(
    _: Any,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """Sum gradients where DDP would average them: the loss is divided by the global count."""
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def no_sync(module: nn.Module, last: bool) -> AbstractContextManager:
    """Return a context that keeps gradients local unless the micro-batch is the last one."""
    if isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return nullcontext()


# --- FSDP2: weights in shards -------------------------------------------------------------


def shard_parameters(objective: nn.Module, group: ProcessGroup) -> None:
    """Shard the parameters over the ranks, in place: full ones exist only within a step."""
    if not group.sharded:
        return
    from torch.distributed.fsdp import fully_shard

    sharded = fully_shard(objective)
    sharded.set_gradient_divide_factor(1.0)  # sums, as above
    sharded.set_force_sum_reduction_for_comms(True)
    sharded.set_reduce_scatter_unused_params(True)  # an expert may get no token of this rank


def gather_full(tree: Any) -> Any:
    """Return a tree of states with full tensors on the CPU. A collective: call it on all ranks."""
    if isinstance(tree, dict):
        return type(tree)((key, gather_full(value)) for key, value in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree)(gather_full(value) for value in tree)
    return tree.full_tensor().cpu() if hasattr(tree, "full_tensor") else tree


def load_states(module: nn.Module, optimizer: OptimizerLike, saved: dict[str, Any]) -> None:
    """Load full states, {"module": …, "optimizer": …}; each rank keeps its shards of them."""
    current = module.state_dict()
    module.load_state_dict(
        {
            name: _distribute_like(value, current.get(name))
            for name, value in saved["module"].items()
        }
    )
    state = saved["optimizer"]
    if "state" in state:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        placed = {
            n: {key: _distribute_like(value, parameters[n]) for key, value in moments.items()}
            for n, moments in state["state"].items()
        }
        state = state | {"state": placed}
    optimizer.load_state_dict(state)


def _distribute_like(value: Any, placed: Any) -> Any:
    if (
        not hasattr(placed, "placements")
        or not isinstance(value, Tensor)
        or value.shape != placed.shape
    ):
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh, local = placed.device_mesh, value.to(placed.device)
    return distribute_tensor(local, mesh, placed.placements, src_data_rank=None)
