"""Follow every storage that operators allocate while it lives, and count the bytes they move."""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# read no more of their table than they return
LOOKUP_OPERATORS = frozenset("embedding gather index index_select take".split())
# read only the shape of their first argument, or overwrite all of it
WRITE_ONLY_OPERATORS = frozenset(
    "bernoulli_ copy_ exponential_ fill_ full_like new_full new_ones new_zeros normal_ ones_like "
    "rand_like randint_like randn_like random_ uniform_ zero_ zeros_like".split()
)


@dataclass
class TrackedStorage:
    """Hold a live storage's bytes and kind; a gradient is tracked as temporary at first."""

    size: int
    kind: str
    in_forward: bool


class TensorTracker(TorchDispatchMode):
    """Track the storages of one device type, and those alive at the peak.

    Buffers that an operator allocates and frees inside itself are not seen.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.live: dict[int, tuple[TrackedStorage, weakref.ref]] = {}
        self.live_bytes = self.peak_bytes = 0
        self.storages_at_peak: list[TrackedStorage] = []
        self.in_backward = False
        self.kept_bytes = self.traffic_bytes = self.operators = 0

    def track(
        self, tensor: Tensor, kind: str, override: bool = False, in_forward: bool = False
    ) -> None:
        """Track a tensor's storage; `override` replaces the kind of one already tracked."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.live:
            tracked, _ = self.live[key]
            self.live_bytes += size - tracked.size  # an operator may have resized it
            tracked.size = size
            tracked.kind = kind if override else tracked.kind
            return
        reference = weakref.ref(storage, partial(self._untrack, key))
        self.live[key] = (TrackedStorage(size, kind, in_forward), reference)
        self.live_bytes += size

    def _untrack(self, key: int, _: weakref.ref) -> None:
        tracked, _reference = self.live.pop(key)
        self.live_bytes -= tracked.size

    def mark_activations(self) -> None:
        """Mark what the forward pass allocated and did not free: it is kept for the backward."""
        for tracked, _ in self.live.values():
            if tracked.in_forward and tracked.kind == "temporary":
                tracked.kind = "activations"
                self.kept_bytes += tracked.size

    def tensors(self, tree: Any) -> list[Tensor]:
        """Return the tensors of a pytree that lie on the device."""
        leaves = pytree.tree_leaves(tree)
        return [t for t in leaves if isinstance(t, Tensor) and t.device.type == self.device]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_backward = torch._C._current_graph_task_id() != -1
        if in_backward and not self.in_backward:
            self.mark_activations()
        self.in_backward = in_backward
        kwargs = kwargs or {}
        for tensor in self.tensors((args, kwargs)):  # new as an argument: older than the step
            self.track(tensor, "parameters")
        result = func(*args, **kwargs)
        for tensor in self.tensors(result):
            self.track(tensor, "temporary", in_forward=not in_backward)
        moved = self.moved_bytes(func._schema, args, kwargs, result)
        self.traffic_bytes += moved
        self.operators += moved > 0
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes = self.live_bytes
            self.storages_at_peak = [tracked for tracked, _ in self.live.values()]
        return result

    def moved_bytes(self, schema: Any, args: Any, kwargs: Any, result: Any) -> int:
        """Return the bytes that an operator reads and writes if nothing is cached.

        Tensors written in place count as read and written, those only filled as written. Views and
        operators that return a Python number move nothing. A lookup reads as many bytes of its
        table as it returns. A fused operator moves at least this much; what it moves inside itself
        is not seen.
        """
        name = schema.name.partition("::")[2]
        values = [*args, *(kwargs.get(argument.name) for argument in schema.arguments[len(args) :])]
        operands = [
            (argument, self.tensors(value))
            for argument, value in zip(schema.arguments, values, strict=True)
        ]
        new = [] if "empty" in name else self.tensors(result)
        written, read = written_bytes(operands, new), read_bytes(name, operands)
        if name in LOOKUP_OPERATORS and 0 in read:
            read[0] = min(read[0], sum(written.values()))
        return sum(read.values()) + sum(written.values()) if written else 0


Operands = Sequence[tuple[Any, Sequence[Tensor]]]  # of an operator: schema and tensors of each


def read_bytes(name: str, operands: Operands) -> dict[Any, int]:
    """Return the bytes of the tensors that an operator reads, a lookup's by position."""
    read: dict[Any, int] = {}
    for place, (argument, tensors) in enumerate(operands):
        if not (argument.is_out or (place == 0 and name in WRITE_ONLY_OPERATORS)):
            is_lookup = name in LOOKUP_OPERATORS
            read |= {place if is_lookup else tensor_key(t): tensor_bytes(t) for t in tensors}
    return read


def written_bytes(operands: Operands, results: Sequence[Tensor]) -> dict[Any, int]:
    """Return the bytes of the tensors that an operator writes in place or allocates."""
    inputs = {t.untyped_storage()._cdata for _, tensors in operands for t in tensors}
    written = [t for t in results if t.untyped_storage()._cdata not in inputs]
    for argument, tensors in operands:
        # a fused optimizer may scale gradients in place, but is never asked to
        if argument.is_write and argument.name != "grads":
            written += tensors
    return {tensor_key(tensor): tensor_bytes(tensor) for tensor in written}


def tensor_key(tensor: Tensor) -> tuple[Any, ...]:
    """Return a key that two tensors share where they view the same numbers."""
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def tensor_bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's numbers, counting those that broadcasting repeats once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    numbers = math.prod(size for size, stride in sizes if stride)
    return min(numbers * tensor.element_size(), tensor.untyped_storage().nbytes())
