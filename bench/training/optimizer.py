"""Optimizers by name: AdamW for everything, or Muon for matrices and AdamW for the rest."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.config import schema


class OptimizerLike(Protocol):
    """What training asks of an optimizer."""

    param_groups: list[dict[str, Any]]

    @property
    def state(self) -> Mapping[Any, Any]: ...
    def step(self) -> Any: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class CombinedOptimizer:
    """Several optimizers as one, each for parameters of its own."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, Any]:
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups[:] = [
            group for part in self.parts for group in part.param_groups
        ]  # loading makes new ones


def build_optimizer(
    module: nn.Module, options: schema.OptimizerConfig, rate: float
) -> OptimizerLike:
    """The optimizer of a module's parameters: `kind` adamw or muon.

    AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101, fused; weight decay for matrices only. Muon: Jordan et al. 2024, in the
    scale of Liu et al. 2025, arXiv:2502.16982; it takes the matrices that are applied to vectors: tables of embeddings (the
    head among them), kernels of convolutions and vectors stay with AdamW.
    """
    if options.kind == "adamw":
        return build_adamw((p for p in module.parameters() if p.requires_grad), options, rate)
    tables = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() == 2 and id(p) not in tables]
    taken = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in taken]
    parts = []
    if matrices:
        decay, momentum = options.weight_decay, options.momentum
        parts.append(
            torch.optim.Muon(
                matrices,
                lr=rate,
                weight_decay=decay,
                momentum=momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return CombinedOptimizer([*parts, *([build_adamw(rest, options, rate)] if rest else [])])


def build_adamw(
    parameters: Iterable[Tensor], options: schema.OptimizerConfig, rate: float
) -> torch.optim.AdamW:
    """AdamW, fused; weight decay for matrices only."""
    groups = list(_decay_groups(list(parameters), options.weight_decay))
    return torch.optim.AdamW(groups, lr=rate, betas=(options.beta1, options.beta2), fused=True)


def _decay_groups(parameters: list[Tensor], decay: float) -> Iterator[dict[str, Any]]:
    for chosen, amount in (
        ([p for p in parameters if p.dim() >= 2], decay),
        ([p for p in parameters if p.dim() < 2], 0.0),
    ):
        if chosen:
            yield {"params": chosen, "weight_decay": amount}
