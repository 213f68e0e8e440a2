"""Following every storage that operators hand out, for as long as it lives, and the bytes that they move."""

import math
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

LOOKUP_OPERATORS = frozenset(
    "embedding gather index index_select take".split()
)  # read no more of their table than they give out
WRITE_ONLY_OPERATORS = frozenset(  # of their first argument they take the shape alone, or overwrite all of it
    "bernoulli_ copy_ exponential_ fill_ full_like new_full new_ones new_zeros normal_ ones_like rand_like randint_like "
    "randn_like random_ uniform_ zero_ zeros_like".split()
)


@dataclass
class TrackedStorage:
    """One live storage: how large, and what it is for. The kind is settled late: a gradient is born as a temporary."""

    size: int
    kind: str
    in_forward: bool


class TensorTracker(TorchDispatchMode):
    """Follows every storage that the operators hand out until it dies, and keeps the moment when most bytes were alive.

    It sees tensors of one kind of device, not the buffers that an operator takes and gives back inside itself.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.live: dict[int, tuple[TrackedStorage, weakref.ref]] = {}
        self.live_bytes = self.peak_bytes = 0
        self.storages_at_peak: list[TrackedStorage] = []
        self.in_backward = False
        self.kept = self.traffic = self.operators = 0

    def hold(
        self, tensor: Tensor, kind: str, certain: bool = False, in_forward: bool = False
    ) -> None:
        """Follow a tensor's storage; `certain` says that the kind is right even where another was noted before."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self.live.get(key)
        if known is not None:
            holding = known[0]
            self.live_bytes += storage.nbytes() - holding.size  # an operator may have resized it
            holding.size = storage.nbytes()
            holding.kind = kind if certain else holding.kind
            return
        holding = TrackedStorage(storage.nbytes(), kind, in_forward)
        self.live[key] = (holding, weakref.ref(storage, partial(self._died, key)))
        self.live_bytes += holding.size

    def _died(self, key: int, _: weakref.ref) -> None:
        holding, _reference = self.live.pop(key)
        self.live_bytes -= holding.size

    def mark_activations(self) -> None:
        """The forward is over: what it made and did not give back is kept for the backward."""
        for holding, _ in self.live.values():
            if holding.in_forward and holding.kind == "temporary":
                holding.kind = "activations"
                self.kept += holding.size

    def tensors(self, tree: Any) -> list[Tensor]:
        """The tensors of a tree that lie on the device."""
        return [
            leaf
            for leaf in pytree.tree_leaves(tree)
            if isinstance(leaf, Tensor) and leaf.device.type == self.device
        ]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        in_backward = torch._C._current_graph_task_id() != -1
        if in_backward and not self.in_backward:
            self.mark_activations()
        self.in_backward = in_backward
        kwargs = kwargs or {}
        for tensor in self.tensors(
            (args, kwargs)
        ):  # first seen going in: it was there before the step
            self.hold(tensor, "parameters")
        result = func(*args, **kwargs)
        for tensor in self.tensors(result):
            self.hold(tensor, "temporary", in_forward=not in_backward)
        moves = self.moved(func._schema, args, kwargs, result)
        self.traffic, self.operators = self.traffic + moves, self.operators + (moves > 0)
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes, self.storages_at_peak = (
                self.live_bytes,
                [holding for holding, _ in self.live.values()],
            )
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
            for tensor in self.tensors(
                args[place] if place < len(args) else kwargs.get(argument.name)
            ):
                given.add(tensor.untyped_storage()._cdata)
                if not (argument.is_out or (place == 0 and name in WRITE_ONLY_OPERATORS)):
                    read[place if name in LOOKUP_OPERATORS else tensor_key(tensor)] = tensor_bytes(
                        tensor
                    )
                if (
                    argument.is_write and argument.name != "grads"
                ):  # a fused optimizer may scale them: it is never asked to
                    written[tensor_key(tensor)] = tensor_bytes(tensor)
        for tensor in self.tensors(result):
            if tensor.untyped_storage()._cdata not in given and "empty" not in name:
                written[tensor_key(tensor)] = tensor_bytes(tensor)
        if name in LOOKUP_OPERATORS and 0 in read:
            read[0] = min(read[0], sum(written.values()))
        return sum(read.values()) + sum(written.values()) if written else 0


def tensor_key(tensor: Tensor) -> tuple[Any, ...]:
    """The same for two tensors that are the same numbers in the same place."""
    return (
        tensor.untyped_storage()._cdata,
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
    )


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's numbers; those that broadcasting repeats count once."""
    numbers = math.prod(
        size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride
    )
    return min(numbers * tensor.element_size(), tensor.untyped_storage().nbytes())
