"""Step by Muon: the orthogonalised momentum of matrices, all of one shape at once.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), in the scale of Liu et al. 2025,
arXiv:2502.16982. It computes what `torch.optim.Muon` does, which orthogonalises one matrix after
another, always in bfloat16: slow on a processor that has to emulate it.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

COEFFICIENTS, ITERATIONS, EPSILON = (3.4445, -4.7750, 2.0315), 5, 1e-7
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MAX_TRIAL_MATRICES, MAX_TRIAL_SIDE, TRIALS = 8, 512, 3  # of the shape with most numbers
BFLOAT16_SPEEDUP = 1.3  # below it float32 is taken, which is more exact


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices or stacks of them.

    `precision` (float32 or bfloat16) is that of the orthogonalisation; by default a short trial on
    this machine chooses it. It is part of the state: a resumed run keeps it.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        rate: float,
        weight_decay: float,
        momentum: float,
        precision: str = "",
    ) -> None:
        matrices = list(parameters)
        options = {"lr": rate, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(matrices, options | {"precision": precision or choose_precision(matrices)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape = defaultdict[torch.Size, list[Tensor]](list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._step_alike(parameters, group)

    def _step_alike(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Step parameters of one shape (…, m, n)."""
        momentum, rate = group["momentum"], group["lr"]
        updates = torch.stack([self._update(parameter, momentum) for parameter in parameters])
        matrices = updates.flatten(0, -3)  # (P·…, m, n)
        orthogonal = orthogonalise(matrices, PRECISIONS[group["precision"]]).reshape(updates.shape)
        # the root mean square of a step is then that of AdamW
        scale = 0.2 * math.sqrt(max(matrices.shape[1:]))
        for parameter, step in zip(parameters, orthogonal, strict=True):
            parameter.mul_(1 - rate * group["weight_decay"]).add_(step, alpha=-rate * scale)

    def _update(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return the gradient with Nesterov momentum."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum_buffer"], momentum)


def orthogonalise(matrices: Tensor, precision: torch.dtype) -> Tensor:
    """Bring the singular values of matrices (B, m, n) near 1, by Newton–Schulz iterations.

    Five of a quintic leave them between about 0.5 and 1.5. Computed in `precision`, returned in the
    precision of the input.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(precision)
    x = x / x.flatten(1).norm(dim=1).clamp(min=EPSILON)[:, None, None]
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def choose_precision(matrices: list[Tensor]) -> str:
    """Return the precision in which this machine orthogonalises faster; float32 where near equal.

    All processes of a run take the same: float32 if one of them does.
    """
    alike = Counter(matrix.shape[-2:] for matrix in matrices)
    (sides, count), device = max(alike.items(), key=_numbers), matrices[0].device
    limited = (min(count, MAX_TRIAL_MATRICES), *(min(side, MAX_TRIAL_SIDE) for side in sides))
    trial = torch.ones(limited, device=device)
    seconds = {name: _seconds(trial, precision) for name, precision in PRECISIONS.items()}
    slow = torch.tensor(seconds["float32"] < BFLOAT16_SPEEDUP * seconds["bfloat16"]).int()
    if dist.is_available() and dist.is_initialized():
        slow = slow.to(device) if dist.get_backend() == "nccl" else slow
        dist.all_reduce(slow, dist.ReduceOp.MAX)
    return "float32" if slow else "bfloat16"


def _numbers(alike: tuple[torch.Size, int]) -> int:
    """Return how many numbers the matrices of a shape have, from the shape and their count."""
    return alike[0].numel() * alike[1]


def _seconds(trial: Tensor, precision: torch.dtype) -> float:
    """Return the shortest time of a few orthogonalisations, after one that warms up."""
    times = []
    for _ in range(1 + TRIALS):
        began = time.perf_counter()
        orthogonalise(trial, precision).sum().item()  # waits for the device
        times.append(time.perf_counter() - began)
    return min(times[1:])
