"""Check a model's state: it continues a text, alone holds what was read, and tells its size."""

import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from architectures.interface import State, Unsupported
from bench.model import LanguageModel
from bench.model.contract.probes import CheckFailed, max_difference, random_input, seeded_output

SHORT_PIECES = (5, 1, 1, 3, 2)  # tokens per call: a prompt, single tokens, several at once
ROWS = 2


class _TensorCounter(pickle.Pickler):
    """Count the bytes of the tensors that are reachable from an object, its modules' aside."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.sizes: dict[int, int] = {}

    def persistent_id(self, value: Any) -> str | None:
        if isinstance(value, Tensor):
            self.sizes[id(value)] = value.numel() * value.element_size()
        return "counted" if isinstance(value, Tensor | nn.Module) else None


def reachable_bytes(state: State) -> int:
    """Return the bytes of the tensors in a state, however it holds them; 0 where it cannot tell."""
    counter = _TensorCounter()
    try:
        counter.dump(state)
    except (pickle.PicklingError, AttributeError, TypeError):
        return 0
    return sum(counter.sizes.values())


def compare_pieces(model: LanguageModel, sizes: Sequence[int]) -> tuple[float, int]:
    """Return how far pieces through the state are from one pass, and the bytes of the state.

    Another text passes through a state of its own in turn, which shows what is kept in the module.
    The distance is a share of the largest output, or absolute where that is below 1. Raise
    CheckFailed for a state that is not returned, changes its size or hides some of it.
    """
    texts = [random_input(model, sum(sizes), seed) for seed in (0, 1)]
    states = [_init_state(model, sum(sizes)) for _ in texts]
    before = model.backbone.state_bytes(states[0])
    outputs = [text[:, :0] for text in texts]
    for pieces in zip(*(text.split(list(sizes), dim=1) for text in texts), strict=True):
        for number, piece in enumerate(pieces):
            mixed, states[number] = model.backbone(piece, states[number])
            if states[number] is None:
                raise CheckFailed("forward was given a state and returned none", "no-state")
            outputs[number] = torch.cat([outputs[number], mixed], dim=1)
    _check_size(model, states[0], before)
    return max(map(_distance, outputs, [seeded_output(model.backbone, t) for t in texts])), before


def _distance(output: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest output where that exceeds 1."""
    return max_difference(output, expected) / max(1.0, expected.abs().max().item())


def _init_state(model: LanguageModel, length: int) -> State:
    try:
        return model.init_state(ROWS, length)
    except Unsupported as reason:
        if not str(reason):
            message = "init_state raises Unsupported without a reason"
            raise CheckFailed(message, "no-reason") from None
        raise


def _check_size(model: LanguageModel, state: State, before: int) -> None:
    """Raise CheckFailed for a state that changed its size, or has more than it tells."""
    after = model.backbone.state_bytes(state)
    if after != before:
        message = f"the state changes its size from {before} to {after} bytes within its length"
        raise CheckFailed(message, "state-size")
    if after < (held := reachable_bytes(state)):
        message = f"state_bytes() is {after:,}, and the state holds {held:,} bytes of tensors"
        raise CheckFailed(message, "state-size")


def check_pieces(model: LanguageModel, sizes: Sequence[int], tolerance: float) -> tuple[float, int]:
    """Return what `compare_pieces` does; raise CheckFailed beyond a tolerance."""
    distance, size = compare_pieces(model, sizes)
    if not distance <= tolerance:
        raise CheckFailed(
            f"the state does not continue the text: pieces of {' + '.join(map(str, sizes))}, with "
            f"another text in turn, differ by up to {distance:.2g} from one pass over "
            f"{sum(sizes)} tokens",
            "state-diverges",
        )
    return distance, size
