"""Step by Muon: the orthogonalised momentum of matrices, all of one shape at once.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), in the scale of Liu et al. 2025,
arXiv:2502.16982. It computes what `torch.optim.Muon` does, which orthogonalises one matrix after
another, always in bfloat16: slow on a processor that has to emulate it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS, ITERATIONS, EPSILON = (3.4445, -4.7750, 2.0315), 5, 1e-7
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices or stacks of them.

    `precision` (float32 or bfloat16) is that of the orthogonalisation; by default the one that
    suits the device. It is part of the state: a resumed run keeps it.
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
    """Return bfloat16 where the device has it in hardware, else float32.

    Of processors these are the ones with AVX-512's or AMX's products of bfloat16, unless torch is
    held to less (`ATEN_CPU_CAPABILITY`): half the time of float32 there, many times it elsewhere.
    """
    if matrices[0].device.type == "cpu":
        is_limited = not torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        return "float32" if is_limited or not torch.cpu._is_avx512_bf16_supported() else "bfloat16"
    return "bfloat16" if matrices[0].device.type == "cuda" else "float32"
