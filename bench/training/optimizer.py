"""Build optimizers by name: AdamW for everything, or Muon for matrices and AdamW for the rest."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bench.config.schema import OptimizerConfig


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

    AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101, fused; weight decay for matrices only. Muon:
    Jordan et al. 2024, in the scale of Liu et al. 2025, arXiv:2502.16982, for the matrices that
    are applied to vectors: embeddings (and so the head), convolutions and vectors use AdamW.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if options.kind == "adamw":
        return build_adamw(trained, options, rate)
    tables = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    matrices = [p for p in trained if p.dim() == 2 and id(p) not in tables]
    chosen = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in chosen]
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        decay, momentum = options.weight_decay, options.momentum
        scale = "match_rms_adamw"
        parts.append(torch.optim.Muon(matrices, rate, decay, momentum, adjust_lr_fn=scale))
    if rest:
        parts.append(build_adamw(rest, options, rate))
    return CombinedOptimizer(parts)


def build_adamw(
    parameters: Iterable[Tensor], options: OptimizerConfig, rate: float
) -> torch.optim.AdamW:
    """Return a fused AdamW with weight decay for matrices only."""
    parameters, decay = list(parameters), options.weight_decay
    matrices = {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": decay}
    vectors = {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}
    groups = [group for group in (matrices, vectors) if group["params"]]
    return torch.optim.AdamW(groups, lr=rate, betas=(options.beta1, options.beta2), fused=True)
