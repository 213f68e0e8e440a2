"""How much memory a training step takes: exact and repeatable on the CPU, the allocator's own counters on CUDA."""

import ctypes
import gc
import math
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

KINDS = ("parameters", "gradients", "optimizer", "activations", "temporary")
LOOKUPS = frozenset("embedding gather index index_select take".split())  # read no more of their table than they give out
UNREAD = frozenset(  # of their first argument they take the shape alone, or overwrite all of it
    "bernoulli_ copy_ exponential_ fill_ full_like new_full new_ones new_zeros normal_ ones_like rand_like randint_like "
    "randn_like random_ uniform_ zero_ zeros_like".split()
)
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Stateful(Protocol):
    """What weighing asks of an optimizer."""

    @property
    def state(self) -> Mapping[Any, Any]: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...


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


@dataclass(frozen=True)
class Weight:
    """What one training step weighs.

    kept: bytes that the forward left for the backward, at the moment when the backward begins, whether or not that is the
    highest of the step · traffic: bytes that operators read and wrote (see `moved`) · operators: how many moved any.
    """

    peak: Peak
    kept: int
    traffic: int
    operators: int


@dataclass
class Holding:
    """One live storage: how large, and what it is for. The kind is settled late: a gradient is born as a temporary."""

    size: int
    kind: str
    in_forward: bool


class LiveStorages(TorchDispatchMode):
    """Follows every storage that the operators hand out until it dies, and keeps the moment when most bytes were alive.

    It sees tensors of one kind of device, not the buffers that an operator takes and gives back inside itself.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.live: dict[int, tuple[Holding, weakref.ref]] = {}
        self.alive = self.highest = 0
        self.at_highest: list[Holding] = []
        self.in_backward = False
        self.kept = self.traffic = self.operators = 0

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
                self.kept += holding.size

    def tensors(self, tree: Any) -> list[Tensor]:
        """The tensors of a tree that lie on the device."""
        return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.device.type == self.device]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_backward = torch._C._current_graph_task_id() != -1
        if in_backward and not self.in_backward:
            self.keep_for_backward()
        self.in_backward = in_backward
        kwargs = kwargs or {}
        for tensor in self.tensors((args, kwargs)):  # first seen going in: it was there before the step
            self.hold(tensor, "parameters")
        result = func(*args, **kwargs)
        for tensor in self.tensors(result):
            self.hold(tensor, "temporary", in_forward=not in_backward)
        moves = self.moved(func._schema, args, kwargs, result)
        self.traffic, self.operators = self.traffic + moves, self.operators + (moves > 0)
        if self.alive > self.highest:
            self.highest, self.at_highest = self.alive, [holding for holding, _ in self.live.values()]
        return result

    def moved(self, schema: Any, args: Any, kwargs: Any, result: Any) -> int:
        """Bytes that an operator reads and writes, were there no cache: of the tensors that it is given and of those it makes.

        What is written in place counts as read and as written; what is merely filled, as written. A view moves nothing, nor
        does an operator that gives only a number to Python. Of the table that rows are looked up in, as many bytes as come
        out. What an operator moves within itself is not seen: for a fused one this is the least that it can move.
        """
        name = schema.name.partition("::")[2]
        read: dict[Any, int] = {}
        written: dict[Any, int] = {}
        given = set()
        for place, argument in enumerate(schema.arguments):
            for tensor in self.tensors(args[place] if place < len(args) else kwargs.get(argument.name)):
                given.add(tensor.untyped_storage()._cdata)
                if not (argument.is_out or (place == 0 and name in UNREAD)):
                    read[place if name in LOOKUPS else identity(tensor)] = extent(tensor)
                if argument.is_write and argument.name != "grads":  # a fused optimizer may scale them: it is never asked to
                    written[identity(tensor)] = extent(tensor)
        for tensor in self.tensors(result):
            if tensor.untyped_storage()._cdata not in given and "empty" not in name:
                written[identity(tensor)] = extent(tensor)
        if name in LOOKUPS and 0 in read:
            read[0] = min(read[0], sum(written.values()))
        return sum(read.values()) + sum(written.values()) if written else 0


def identity(tensor: Tensor) -> tuple[Any, ...]:
    """The same for two tensors that are the same numbers in the same place."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def extent(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers; those that broadcasting repeats count once."""
    numbers = math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return min(numbers * tensor.element_size(), tensor.untyped_storage().nbytes())


def held(model: nn.Module, optimizer: Stateful, inputs: Iterable[Tensor], device: str = "cpu") -> LiveStorages:
    """What is alive before a step, and what for."""
    storages = LiveStorages(device)
    for kind, tree in (
        ("parameters", [*model.parameters(), *model.buffers()]),
        ("activations", list(inputs)),
        ("optimizer", list(optimizer.state.values())),
    ):
        for kept in storages.tensors(tree):
            storages.hold(kept, kind)
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


def weigh_step(
    step: Callable[[], object], model: nn.Module, optimizer: Stateful, inputs: Iterable[Tensor], device: str = "cpu"
) -> Weight:
    """What one call of `step`, a whole training step on `inputs`, weighs: the same to the byte each time.

    The optimizer's state has to be there: call the step once before. On CUDA these are the bytes of the tensors, without
    what the allocator rounds up and what libraries keep for themselves.
    """
    storages = held(model, optimizer, inputs, device)

    def settle(parameter: Tensor) -> None:
        for gradient in storages.tensors(parameter.grad):
            storages.hold(gradient, "gradients", certain=True)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        settle(parameter)
    hooks = [parameter.register_post_accumulate_grad_hook(settle) for parameter in trained]
    try:
        with undisturbed(), storages:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    sums = {kind: sum(holding.size for holding in storages.at_highest if holding.kind == kind) for kind in KINDS}
    return Weight(Peak(storages.highest, **sums), storages.kept, storages.traffic, storages.operators)


def cpu_peak(step: Callable[[], object], model: nn.Module, optimizer: Stateful, inputs: Iterable[Tensor]) -> Peak:
    """The peak of live tensor storages over one call of `step`, after one that makes the optimizer's state."""
    step()
    return weigh_step(step, model, optimizer, inputs).peak


def allocator_peak(step: Callable[[], object], model: nn.Module, optimizer: Stateful, inputs: Iterable[Tensor]) -> int:
    """The peak in bytes as the CPU's allocator sees it: with the buffers that operators take and give back inside themselves.

    Call it after the step was called once, which makes the optimizer's state. Deterministic too.
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


# --- the process, as the system sees it -------------------------------------------------------------------------------


def process_before() -> int | str:
    """The memory of this process before its model is built, in bytes, with the system's mark of its peak set back to it.

    Call it in a fresh process. A reason in place of the number where the system has no such counters.

    What torch loads at the first step of any model, some 85 MB with its compiler, is loaded now, so that it counts for no
    model; and what lies free in the process goes back to the system, since `bench.machine.ALLOCATOR` has the process keep it
    and the model would take it up unseen. With that setting memory comes in large pages: a rise is known to a few MB, and
    includes the gaps between tensors that were given back; the peak itself is the same whether memory is kept or not.
    """
    first_step_of_all()
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: 0)(0)
    try:
        handle = os.open(RESET, os.O_WRONLY)
        os.write(handle, b"5")
        os.close(handle)
    except OSError as error:
        return f"not available: {RESET}: {error.strerror}"
    return process_peak()


def process_rise(before: int | str) -> int | str:
    """Bytes by which the process has grown at most since `process_before`, or that function's reason. For no ranking."""
    now = process_peak()
    return before if isinstance(before, str) else now if isinstance(now, str) else max(0, now - before)


def process_peak() -> int | str:
    """The most memory that the process has had since the mark was set back, in bytes, or why that is not known."""
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return f"not available: {STATUS}: {error.strerror}"
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else f"not available: {STATUS} has no VmHWM"


def first_step_of_all() -> None:
    """A training step of four numbers: torch loads what it needs for any. Draws no random numbers."""
    numbers = nn.Parameter(torch.zeros(2, 2))
    adam = torch.optim.AdamW([numbers], fused=True)
    (torch.ones(2, 2) @ numbers).sum().backward()
    nn.utils.clip_grad_norm_([numbers], 1.0)
    adam.step()
    adam.zero_grad(set_to_none=True)
