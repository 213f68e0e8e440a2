"""Lay out the state of any architecture as tensors."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from architectures.interface import State, Unsupported
from bench.model.language_model import LanguageModel

LEAST = 2  # a count of 0 or 1 would be exported as a constant


class Counter:
    """Stands for a leaf that counts tokens."""


class StateForm(NamedTuple):
    """The tree of a state, and of each leaf a tensor's shape, Counter, or the constant that it is.

    Tensors are contiguous. A counter travels as the length of an empty tensor (n, 0), so that torch
    takes its value for a dynamic size.
    """

    tree: pytree.TreeSpec
    leaves: tuple[Any, ...]

    @property
    def counters(self) -> list[int]:
        """Return which of the tensors count tokens."""
        kinds = [kind for kind in self.leaves if _is_tensor(kind)]
        return [i for i, kind in enumerate(kinds) if kind is Counter]

    def to_tensors(self, state: State) -> list[Tensor]:
        """Return the tensors of a state. Raise Unsupported for a state of another form."""
        leaves, tree = pytree.tree_flatten(state)
        if tree != self.tree:
            raise Unsupported("its state changes its form from token to token")
        tensors = []
        for kind, leaf in zip(self.leaves, leaves, strict=True):
            is_tensor = isinstance(leaf, Tensor)
            if kind is Counter:
                tensors.append(torch.empty(leaf, 0))
            elif (leaf.shape if is_tensor else leaf) != kind:
                raise Unsupported("its state changes its size or a constant from token to token")
            elif is_tensor:
                tensors.append(leaf.contiguous())
        return tensors

    def to_state(self, tensors: list[Tensor]) -> State:
        """Return the state with these tensors."""
        left = iter(tensors)
        leaves = [next(left) if _is_tensor(kind) else kind for kind in self.leaves]
        counted = zip(self.leaves, leaves, strict=True)
        leaves = [leaf.shape[0] if kind is Counter else leaf for kind, leaf in counted]
        return pytree.tree_unflatten(leaves, self.tree)


def _is_tensor(kind: Any) -> bool:
    return kind is Counter or isinstance(kind, torch.Size)


def state_form(model: LanguageModel, rows: int, room: int) -> StateForm:
    """Return the form of a model's states of `rows` sequences with room for `room` tokens.

    Raise Unsupported where a state holds anything but tensors, counters and constants.
    """
    states = []
    for length in (LEAST, LEAST + 1):
        tokens = torch.zeros(rows, length, dtype=torch.long)
        with torch.no_grad():
            states.append(model(tokens, model.init_state(rows, room))[1])
    (before, first), (leaves, tree) = map(pytree.tree_flatten, states)
    if first != tree:
        raise Unsupported("its state changes its form from token to token")
    return StateForm(tree, tuple(map(_kind, before, leaves)))


def state_room(model: LanguageModel, rows: int) -> int:
    """Return the room of the states of an exported step, for a context of tokens.

    One place of those that count tokens is never filled: a full cache has other strides.
    """
    context = model.backbone.context
    return context + bool(state_form(model, rows, context).counters)


def _kind(before: Any, after: Any) -> Any:
    """Return what a leaf is, by its values after LEAST tokens and after one more."""
    if isinstance(after, Tensor):
        if before.shape != after.shape:
            raise Unsupported("its state grows with each token")
        return after.shape
    if (before, after) == (LEAST, LEAST + 1):
        return Counter
    if before != after or not (after is None or isinstance(after, int | float | str)):
        raise Unsupported(f"its state holds a {type(after).__name__}, not tensors alone")
    return after
