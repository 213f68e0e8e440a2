"""Make, run and weigh the caches of transformers models."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def cache_keyword(model: Any) -> str:
    """Return the name of a family's cache argument; empty where it has none."""
    keywords = inspect.signature(type(model).forward).parameters
    return next((name for name in ("past_key_values", "cache_params") if name in keywords), "")


def run_on_meta(model: Any, width: int, batch: int = 1, length: int = 2) -> Any:
    """Return a model's output without memory, with a cache where it has one (some need it)."""
    dtype, name = next(model.parameters()).dtype, cache_keyword(model)
    x = torch.empty(batch, length, width, dtype=dtype, device="meta")
    options = {name: empty_cache(model, batch, x), "use_cache": True} if name else {}
    with torch.no_grad():
        return model(inputs_embeds=x, **options)


def empty_cache(model: Any, batch: int, like: Tensor) -> Any:
    """Return an empty cache; None where the model makes the right one at the first token.

    That of xLSTM rounds the widths of heads up to multiples of 64, which its layers do not.
    """
    if model.config.model_type != "xlstm":
        return None
    from transformers.models.xlstm.modeling_xlstm import xLSTMCache

    cache = xLSTMCache(model.config, batch, dtype=like.dtype, device=str(like.device))
    heads = model.config.num_heads
    for layer, block in enumerate(model.blocks):
        keys, values = block.mlstm_layer.qk_dim // heads, block.mlstm_layer.v_dim // heads
        matrices, sums = (
            like.new_zeros(batch, heads, keys, values),
            like.new_zeros(batch, heads, keys),
        )
        cache.rnn_state[layer] = (matrices, sums, like.new_zeros(batch, heads, 1))
    return cache


def held_bytes(cache: Any) -> int:
    """Return the bytes of all tensors that a cache holds, in whatever containers."""
    plain = type | str | int | float | bool | torch.dtype | torch.device | None
    seen: set[int] = set()
    queue, total = [cache], 0
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, plain):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, Mapping):
            queue += value.values()
        elif isinstance(value, list | tuple):
            queue += value
        elif not hasattr(value, "model_type"):  # a configuration
            queue += vars(value).values() if hasattr(value, "__dict__") else []
    return total
