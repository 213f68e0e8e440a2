"""Build optimizers by name: AdamW for everything, or Muon for matrices and AdamW for the rest."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.config.schema import OptimizerConfig
from bench.training.muon import Muon
from bench.training.parameter_kinds import Kind, parameter_kinds


class OptimizerLike(Protocol):
    """What training needs of an optimizer."""

    param_groups: list[dict[str, Any]]

    @property
    def state(self) -> Mapping[Any, Any]: ...
    def step(self) -> Any: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class CombinedOptimizer:
    """Several optimizers as one, each for its own parameters."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, Any]:
        """Return the state of each parameter."""
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def step(self) -> None:
        """Step all parts."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Zero the gradients of all parts."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts in their order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the states of the parts."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # loading replaces the groups
        self.param_groups[:] = [group for part in self.parts for group in part.param_groups]


def build_optimizer(module: nn.Module, options: OptimizerConfig, rate: float) -> OptimizerLike:
    """Return the optimizer of a module's trainable parameters, of kind adamw or muon.

    AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101, fused; weight decay for all but vectors. Muon
    for matrices (`parameter_kinds`): embeddings (and so the head), kernels and vectors use AdamW.
    """
    kinds = parameter_kinds(module)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    matrices = [p for name, p in trained.items() if kinds[name] == "matrix"]
    if options.kind == "adamw" or not matrices:
        return build_adamw(trained, kinds, options, rate)
    rest = {name: p for name, p in trained.items() if kinds[name] != "matrix"}
    muon = Muon(matrices, rate, options.weight_decay, options.momentum)
    return CombinedOptimizer([muon, *([build_adamw(rest, kinds, options, rate)] if rest else [])])


def build_adamw(
    parameters: Mapping[str, Tensor],
    kinds: Mapping[str, Kind],
    options: OptimizerConfig,
    rate: float,
) -> torch.optim.AdamW:
    """Return a fused AdamW with weight decay for all parameters but vectors."""
    decayed = [p for name, p in parameters.items() if kinds[name] != "vector"]
    vectors = [p for name, p in parameters.items() if kinds[name] == "vector"]
    groups = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, options.weight_decay), (vectors, 0.0))
        if group
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(options.beta1, options.beta2), fused=True)


def muon_precision(optimizer: OptimizerLike) -> str:
    """Return the precision in which Muon orthogonalises; empty for another optimizer."""
    return next(
        (group["precision"] for group in optimizer.param_groups if "precision" in group), ""
    )
