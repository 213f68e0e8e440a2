"""How much memory a training step takes: exact and repeatable on the CPU, the allocator's own counters on CUDA."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench.performance.tensor_tracker import TensorTracker

MEMORY_KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")
OUT_OF_MEMORY_PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
)  # as torch and its libraries say it


class OptimizerLike(Protocol):
    """What weighing asks of an optimizer."""

    @property
    def state(self) -> Mapping[Any, Any]: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...


@dataclass(frozen=True)
class MemoryPeak:
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


@dataclass(frozen=True)
class MemoryProfile:
    """What one training step weighs.

    kept: bytes that the forward left for the backward, at the moment when the backward begins, whether or not that is the
    highest of the step · traffic: bytes that operators read and wrote (see `moved`) · operators: how many moved any.
    """

    peak: MemoryPeak
    kept: int
    traffic: int
    operators: int


def track_existing(
    model: nn.Module, optimizer: OptimizerLike, inputs: Iterable[Tensor], device: str = "cpu"
) -> TensorTracker:
    """What is alive before a step, and what for."""
    storages = TensorTracker(device)
    for kind, tree in (
        ("parameters", [*model.parameters(), *model.buffers()]),
        ("activations", list(inputs)),
        ("optimizer", list(optimizer.state.values())),
    ):
        for kept in storages.tensors(tree):
            storages.hold(kept, kind)
    return storages


@contextmanager
def garbage_collection_disabled() -> Iterator[None]:
    """No garbage collection: it would free cycles at a moment of its own choice."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def profile_step(
    step: Callable[[], object],
    model: nn.Module,
    optimizer: OptimizerLike,
    inputs: Iterable[Tensor],
    device: str = "cpu",
) -> MemoryProfile:
    """What one call of `step`, a whole training step on `inputs`, weighs: the same to the byte each time.

    The optimizer's state has to be there: call the step once before. On CUDA these are the bytes of the tensors, without
    what the allocator rounds up and what libraries keep for themselves.
    """
    storages = track_existing(model, optimizer, inputs, device)

    def settle(parameter: Tensor) -> None:
        for gradient in storages.tensors(parameter.grad):
            storages.hold(gradient, "gradients", certain=True)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        settle(parameter)
    hooks = [parameter.register_post_accumulate_grad_hook(settle) for parameter in trained]
    try:
        with garbage_collection_disabled(), storages:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    sums = {
        kind: sum(holding.size for holding in storages.storages_at_peak if holding.kind == kind)
        for kind in MEMORY_KINDS
    }
    return MemoryProfile(
        MemoryPeak(storages.peak_bytes, **sums), storages.kept, storages.traffic, storages.operators
    )


def cpu_peak_memory(
    step: Callable[[], object], model: nn.Module, optimizer: OptimizerLike, inputs: Iterable[Tensor]
) -> MemoryPeak:
    """The peak of live tensor storages over one call of `step`, after one that makes the optimizer's state."""
    step()
    return profile_step(step, model, optimizer, inputs).peak


def allocator_peak_bytes(
    step: Callable[[], object], model: nn.Module, optimizer: OptimizerLike, inputs: Iterable[Tensor]
) -> int:
    """The peak in bytes as the CPU's allocator sees it: with the buffers that operators take and give back inside themselves.

    Call it after the step was called once, which makes the optimizer's state. Deterministic too.
    """
    alive = highest = track_existing(model, optimizer, inputs).live_bytes
    with (
        garbage_collection_disabled(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        step()
    events = [
        event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        highest = max(highest, alive)
    return highest


def cuda_peak_bytes(step: Callable[[], object]) -> tuple[int, int]:
    """The most bytes allocated and reserved on the current CUDA device over one call of `step`, after one that warms up."""
    step()
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left, on whatever device."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error).lower() for words in OUT_OF_MEMORY_PHRASES
    )
