"""How much memory a training step takes: exact and repeatable on the CPU, the allocator's own counters on CUDA."""

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")


@dataclass(frozen=True)
class Peak:
    """Bytes of the tensors alive at the highest moment of a step, and what they were there for. The kinds add up to the total.

    parameters: with buffers and whatever else the model held before the step · activations: the batch, and what the forward
    left for the backward · temporary: everything else, within the forward, the backward or the optimizer.
    """

    total: int
    parameters: int
    gradients: int
    optimizer: int
    activations: int
    temporary: int


@dataclass
class Holding:
    """One live storage: how large, and what it is for. The kind is settled late: a gradient is born as a temporary."""

    size: int
    kind: str
    in_forward: bool


class LiveStorages(TorchDispatchMode):
    """Follows every storage that the operators hand out until it dies, and keeps the moment when most bytes were alive.

    It sees tensors, not the buffers that an operator takes and gives back inside itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[Holding, weakref.ref]] = {}
        self.alive = 0
        self.highest = 0
        self.at_highest: list[Holding] = []
        self.in_backward = False

    def hold(self, tensor: Tensor, kind: str, certain: bool = False, in_forward: bool = False) -> None:
        """Follow a tensor's storage; `certain` says that the kind is right even where another was noted before."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self.live.get(key)
        if known is not None:
            holding = known[0]
            self.alive += storage.nbytes() - holding.size  # an operator may have resized it
            holding.size = storage.nbytes()
            holding.kind = kind if certain else holding.kind
            return
        holding = Holding(storage.nbytes(), kind, in_forward)
        self.live[key] = (holding, weakref.ref(storage, partial(self._died, key)))
        self.alive += holding.size

    def _died(self, key: int, _: weakref.ref) -> None:
        holding, _reference = self.live.pop(key)
        self.alive -= holding.size

    def keep_for_backward(self) -> None:
        """The forward is over: what it made and did not give back is kept for the backward."""
        for holding, _ in self.live.values():
            if holding.in_forward and holding.kind == "temporary":
                holding.kind = "activations"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_backward = torch._C._current_graph_task_id() != -1
        if in_backward and not self.in_backward:
            self.keep_for_backward()
        self.in_backward = in_backward
        for leaf in pytree.arg_tree_leaves(*args, **(kwargs or {})):
            if isinstance(leaf, Tensor):  # first seen going in: it was there before the step
                self.hold(leaf, "parameters")
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf, "temporary", in_forward=not in_backward)
        if self.alive > self.highest:
            self.highest, self.at_highest = self.alive, [holding for holding, _ in self.live.values()]
        return result


def held(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Iterable[Tensor]) -> LiveStorages:
    """What is alive before a step, and what for."""
    storages = LiveStorages()
    for kept in (*model.parameters(), *model.buffers()):
        storages.hold(kept, "parameters")
    for kept in inputs:
        storages.hold(kept, "activations")
    for kept in pytree.tree_leaves(list(optimizer.state.values())):
        if isinstance(kept, Tensor):
            storages.hold(kept, "optimizer")
    return storages


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection: it would free cycles at a moment of its own choice."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cpu_peak(step: Callable[[], object], model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Iterable[Tensor]) -> Peak:
    """The peak of live tensor storages over one call of `step`, in bytes: the same to the byte each time.

    `step` is a whole training step on `inputs`. It is called twice: the first call makes the optimizer's state.
    """
    step()
    storages = held(model, optimizer, inputs)

    def settle(parameter: Tensor) -> None:
        if parameter.grad is not None:
            storages.hold(parameter.grad, "gradients", certain=True)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        settle(parameter)
    hooks = [parameter.register_post_accumulate_grad_hook(settle) for parameter in trained]
    with undisturbed(), storages:
        step()
    for hook in hooks:
        hook.remove()
    sums = {kind: sum(holding.size for holding in storages.at_highest if holding.kind == kind) for kind in KINDS}
    return Peak(storages.highest, **sums)


def allocator_peak(
    step: Callable[[], object], model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Iterable[Tensor]
) -> int:
    """The peak in bytes as the CPU's allocator sees it: with the buffers that operators take and give back inside themselves.

    Call it after `cpu_peak`, which makes the optimizer's state. Deterministic too.
    """
    alive = highest = held(model, optimizer, inputs).alive
    with undisturbed(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        highest = max(highest, alive)
    return highest


def cuda_peak(step: Callable[[], object]) -> tuple[int, int]:
    """The most bytes allocated and reserved on the current CUDA device over one call of `step`, after one that warms up."""
    step()
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
