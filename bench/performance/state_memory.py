"""Measure the bytes of a decoding state, and their growth with the context."""

from types import ModuleType

import torch
from torch import Tensor, nn

from architectures.interface import State, Unsupported
from bench.model import PLUGIN_ERRORS, LanguageModel, describe_error


def state_growth(model: LanguageModel, context: int) -> dict[str, float | str]:
    """Return the state's bytes for one sequence of a context, and per token of context.

    The growth is from the context to twice as much, or from half of it where the architecture makes
    no longer state.
    """
    size = measure_state_bytes(model, context)
    if isinstance(size, str):
        return {"state_bytes": size, "state_bytes_per_token": size}

    def declared(length: int) -> int:
        return model.backbone.state_bytes(model.init_state(1, length))

    try:
        growth = (declared(2 * context) - size) / context
    except PLUGIN_ERRORS:  # not built for that length
        half = context // 2
        growth = (size - declared(half)) / (context - half)
    return {"state_bytes": size, "state_bytes_per_token": growth}


@torch.no_grad()
def measure_state_bytes(model: LanguageModel, length: int) -> int | str:
    """Return the state's bytes for one sequence, checked against its tensors after a prefill.

    Elements count, not the storages that they may be views of. Return the reason where there is no
    state or the declared bytes differ.
    """
    training = model.training
    try:
        state = model.eval().init_state(1, length)
        declared = model.backbone.state_bytes(state)
        prompt = torch.arange(length, device=model.embedding.weight.device) % model.vocabulary
        _, state = model.hidden(prompt[None], state)  # (1, T)
        live = sum(tensor.numel() * tensor.element_size() for tensor in find_tensors(state))
    except Unsupported as reason:
        return str(reason)
    except PLUGIN_ERRORS as error:
        return f"no state for {length} tokens: {describe_error(error)}"
    finally:
        model.train(training)
    return declared if live == declared else f"its state has {live} bytes but declares {declared}"


def find_tensors(state: State) -> list[Tensor]:
    """Return each tensor in a state once: in containers and in attributes of opaque objects."""
    tensors, seen, pending = dict[int, Tensor](), set[int](), [state]
    while pending:
        value = pending.pop()
        if id(value) in seen or isinstance(value, nn.Module | ModuleType | type):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            tensors[id(value)] = value
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple | set):
            pending.extend(value)
        else:
            pending.extend(getattr(value, "__dict__", {}).values())
    return list(tensors.values())
