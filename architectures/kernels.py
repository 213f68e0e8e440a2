"""Run linear recurrences by torch's operators, or by flash-linear-attention's kernels on CUDA."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from architectures.fla_kernels import KERNELS, PACKAGE

Kernels = Literal["auto", "reference", "fla"]
Rule = Callable[..., tuple[Tensor, Tensor | None]]
TRIAL_LENGTH = 70  # tokens: more than a chunk of the kernels
# the largest difference, as a share of the largest value; products may be in TF32
TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 5e-2, torch.float16: 5e-2}


class Recurrence(nn.Module):
    """A rule over (B, T, H, ·), by its reference or by a kernel; `ran` says which ran last.

    `auto`: on CUDA the kernel, where its package is installed and its outputs and gradients agree
    with the reference on a trial of these widths; else the reference. `fla`: the same, and an error
    where the kernel cannot be used. On a CPU, in float64 and for single tokens it is always the
    reference.
    """

    def __init__(self, reference: Rule, name: str, kernels: Kernels) -> None:
        super().__init__()
        self.reference, self.name, self.kernels = reference, name, kernels
        installed = importlib.util.find_spec(PACKAGE) is not None
        self.possible = kernels != "reference" and installed
        self.ran = "reference"
        self.trials: dict[
            tuple[Any, ...], str
        ] = {}  # why a kernel was rejected; empty if it agrees
        if kernels == "fla" and not self.possible:
            raise ModuleNotFoundError("kernels=fla needs flash-linear-attention", name=PACKAGE)
        if kernels == "fla" and not torch.cuda.is_available():
            raise RuntimeError(
                "kernels=fla needs a CUDA device, and this machine has none: "
                "use kernels=auto or kernels=reference"
            )

    def forward(self, *given: Any) -> tuple[Tensor, Tensor | None]:
        if not self.possible or given[0].device.type != "cuda" or given[0].shape[1] == 1:
            return self.reference(*given)
        return self.by_kernel(*given)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def by_kernel(self, *given: Any) -> tuple[Tensor, Tensor | None]:
        """Run the kernel if it agrees with the reference, else the reference.

        Raise RuntimeError where it does not and `kernels` is fla.
        """
        *inputs, state, _ = given
        dtype = compute_dtype(inputs[0])
        key = (inputs[0].shape[2:], inputs[2].shape[2:], dtype, inputs[0].device)
        if key not in self.trials:
            self.trials[key] = self.disagreement(given, dtype)
        if reason := self.trials[key]:
            if self.kernels == "fla":
                raise RuntimeError(f"kernels=fla: {reason}; use kernels=reference")
            self.ran = f"reference ({reason})"
            return self.reference(*given)
        self.ran = PACKAGE
        read, after = KERNELS[self.name](inputs, dtype, state)
        if state is not None and after is not None:
            after = after.to(state.dtype)
        return read.to(inputs[2].dtype), after

    def disagreement(self, given: tuple[Any, ...], dtype: torch.dtype) -> str:
        """Return why the kernel cannot be used at the widths of these inputs; empty if it agrees.

        Outputs, state and gradients are compared.
        """
        if dtype not in TOLERANCE:
            return f"{PACKAGE} has no kernel in {str(dtype).removeprefix('torch.')}"
        autocast = torch.autocast(given[0].device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), autocast:
            inputs, state = trial_inputs(given)
            rounded = [x.to(dtype).float().requires_grad_() for x in inputs]
            expected = _with_gradients(lambda: self.reference(*rounded, state, given[-1]), rounded)
            try:
                kernel = KERNELS[self.name]
                actual = _with_gradients(lambda: kernel(rounded, dtype, state), rounded)
            except Exception as error:  # whatever a kernel raises that does not compile
                reason = " ".join(str(error).split())[:120]
                return f"{PACKAGE} raised {type(error).__name__}: {reason}"
        off = relative_difference(expected, actual)
        return "" if off <= TOLERANCE[dtype] else f"{PACKAGE} is off by {off:.2g} of the reference"


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the precision of autocast on CUDA where that is enabled, else that of x."""
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype


def relative_difference(expected: list[Tensor], actual: list[Tensor]) -> float:
    """Return the largest difference of a pair, as a share of the largest value expected."""
    pairs = zip(expected, actual, strict=True)
    return max(((a - b).abs().max() / a.abs().max().clamp_min(1e-6)).item() for a, b in pairs)


def trial_inputs(given: tuple[Any, ...]) -> tuple[list[Tensor], Tensor]:
    """Return random inputs of the widths of `given`, and a state.

    `given`: queries, keys, values, decays in logarithms, possibly directions of length 1, possibly
    strengths between 0 and 1, state, chunk. Vectors are short.
    """
    generator, device = torch.Generator().manual_seed(0), given[0].device

    def random(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    drawn = [random((1, TRIAL_LENGTH, *x.shape[2:])) for x in given[:-2]]
    queries, keys, values, decays, *rest = drawn
    inputs = [queries * queries.shape[-1] ** -0.5, unit_vectors(keys), values]
    inputs += [-0.5 * decays.sigmoid(), *map(unit_vectors, rest[:-1])]
    inputs += map(torch.sigmoid, rest[-1:])
    return inputs, random((1, values.shape[2], keys.shape[-1], values.shape[-1]))


def unit_vectors(x: Tensor) -> Tensor:
    """Normalize to length 1 along the last axis."""
    return x / x.norm(dim=-1, keepdim=True)


def _with_gradients(
    run: Callable[[], tuple[Tensor, Tensor | None]], inputs: list[Tensor]
) -> list[Tensor]:
    """Return the outputs of a rule, its next state, and the gradients of their summed squares."""
    read, state = run()
    assert state is not None
    loss = read.float().square().sum() + state.float().square().sum()
    return [read.detach().float(), state.detach().float(), *torch.autograd.grad(loss, inputs)]
