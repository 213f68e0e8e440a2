"""Call the kernels of flash-linear-attention under the signatures of our rules."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PACKAGE = "fla"


def _operator(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{PACKAGE}.ops.{module}"), name)


def _linear(given: Any, dtype: torch.dtype, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
    queries, keys, values, decays = given
    heads = values.shape[2]
    # (B, T, 1, K) -> (B, T, H, K) where all heads share it
    queries, keys = (x.expand(*x.shape[:2], heads, x.shape[3]).to(dtype) for x in (queries, keys))
    per_head = ("simple_gla", "chunk_simple_gla")
    operator = _operator(*(per_head if decays.dim() == 3 else ("gla", "chunk_gla")))
    decays = decays.float().expand(values.shape[0], *decays.shape[1:])
    return _run_kernel(operator, state, q=queries, k=keys, v=values.to(dtype), g=decays)


def _gated_delta(
    given: Any, dtype: torch.dtype, state: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    queries, keys, values, strengths = (given[i].to(dtype) for i in (0, 1, 2, 4))
    operator = _operator("gated_delta_rule", "chunk_gated_delta_rule")
    parts = {"q": queries, "k": keys, "v": values, "beta": strengths}
    return _run_kernel(operator, state, **parts, g=given[3].float())


def _generalised_delta(
    given: Any, dtype: torch.dtype, state: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    reads, keys, values, decays, erased, rates = given
    parts = {"r": reads, "k": keys, "v": values, "a": -erased, "b": erased * rates}
    parts = {name: x.to(dtype) for name, x in parts.items()}
    return _run_kernel(_operator("rwkv7", "chunk_rwkv7"), state, **parts, w=decays.float())


def _run_kernel(
    operator: Any, state: Tensor | None, **parts: Tensor
) -> tuple[Tensor, Tensor | None]:
    start = None if state is None else state.float()
    read, after = operator(
        **parts, scale=1.0, initial_state=start, output_final_state=state is not None
    )
    return read, after


KERNELS: dict[str, Callable[[Any, torch.dtype, Tensor | None], tuple[Tensor, Tensor | None]]] = {
    "linear_attention": _linear,
    "gated_delta_rule": _gated_delta,
    "generalised_delta_rule": _generalised_delta,
}
