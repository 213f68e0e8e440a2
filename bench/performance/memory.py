"""Profile the memory of a training step: to the byte on the CPU, by the allocator on CUDA."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench.performance.tensor_tracker import TensorTracker
from bench.training import OptimizerLike

MEMORY_KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")


@dataclass(frozen=True)
class TrainingStep:
    """Bind a whole training step to the tensors that it works on, of one device type."""

    run: Callable[[], object]
    model: nn.Module
    optimizer: OptimizerLike
    inputs: Sequence[Tensor]
    device: str = "cpu"


@dataclass(frozen=True)
class MemoryProfile:
    """Hold the memory of one training step in bytes.

    peak: of live tensors · by_kind: what they are at the peak, adding up to it; parameters include
    buffers, activations the batch, temporary is everything else · kept: activations when the
    backward pass begins, whether or not that is the peak · traffic: bytes that operators read and
    wrote (see `TensorTracker.moved_bytes`) · operators: how many moved any.
    """

    peak: int
    by_kind: dict[str, int]
    kept: int
    traffic: int
    operators: int


def track_existing(step: TrainingStep) -> TensorTracker:
    """Return a tracker of the tensors that are alive before a step."""
    tracker = TensorTracker(step.device)
    for kind, tree in (
        ("parameters", [*step.model.parameters(), *step.model.buffers()]),
        ("activations", list(step.inputs)),
        ("optimizer", list(step.optimizer.state.values())),
    ):
        for tensor in tracker.tensors(tree):
            tracker.track(tensor, kind)
    return tracker


@contextmanager
def garbage_collection_disabled() -> Iterator[None]:
    """Collect garbage once and then not within the block, where it would free cycles at random."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def profile_step(step: TrainingStep) -> MemoryProfile:
    """Profile one step whose optimizer state exists; the same to the byte each time.

    On CUDA these are the bytes of tensors, without what the allocator rounds up and what libraries
    keep for themselves.
    """
    tracker = track_existing(step)

    def track_gradient(parameter: Tensor) -> None:
        for gradient in tracker.tensors(parameter.grad):
            tracker.track(gradient, "gradients", override=True)

    trained = [p for p in step.model.parameters() if p.requires_grad]
    for parameter in trained:
        track_gradient(parameter)
    hooks = [p.register_post_accumulate_grad_hook(track_gradient) for p in trained]
    try:
        with garbage_collection_disabled(), tracker:
            step.run()
    finally:
        for hook in hooks:
            hook.remove()
    by_kind = dict.fromkeys(MEMORY_KINDS, 0)
    for storage in tracker.storages_at_peak:
        by_kind[storage.kind] += storage.size
    return MemoryProfile(
        tracker.peak_bytes, by_kind, tracker.kept_bytes, tracker.traffic_bytes, tracker.operators
    )


def allocator_peak_bytes(step: TrainingStep) -> int:
    """Return the peak as the CPU allocator sees it, with the buffers inside operators.

    The optimizer's state has to exist. The same to the byte each time, too.
    """
    live = peak = track_existing(step).live_bytes
    activities = [ProfilerActivity.CPU]
    with (
        garbage_collection_disabled(),
        profile(activities=activities, profile_memory=True) as profiler,
    ):
        step.run()
    events = profiler.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    for event in sorted(changes, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def cuda_peak_bytes(step: TrainingStep) -> tuple[int, int]:
    """Return the peak bytes allocated and reserved on the current CUDA device, after a warm-up."""
    step.run()
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step.run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
