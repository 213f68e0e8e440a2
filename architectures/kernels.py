"""What a linear recurrence runs on: torch's own operators, or the kernels of flash-linear-attention on CUDA, held to them."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kernels = Literal["auto", "reference", "fla"]
Rule = Callable[..., tuple[Tensor, Tensor | None]]
PACKAGE = "fla"
LENGTH = 70  # tokens of the trial: more than a chunk of theirs
AGREEMENT = {
    torch.float32: 1e-2,
    torch.bfloat16: 5e-2,
    torch.float16: 5e-2,
}  # share of the largest value; products may be in TF32


class Recurrence(nn.Module):
    """A rule over (B, T, H, ·) by its reference, or by the kernel of that `name` below. What ran last stands in `ran`.

    `auto`: on CUDA the kernel, where its package is installed and what it gives, gradients too, agrees with the reference on a
    trial of these widths; else the reference. `fla`: the same, and where it can not be, an error that says why. On a processor,
    in float64 and for single tokens it is always the reference.
    """

    def __init__(self, reference: Rule, name: str, asked: Kernels) -> None:
        super().__init__()
        self.reference, self.name, self.asked = reference, name, asked
        self.possible = asked != "reference" and importlib.util.find_spec(PACKAGE) is not None
        self.ran = "reference"
        self.trials: dict[
            tuple[Any, ...], str
        ] = {}  # what was found wrong with the kernel; nothing where it agrees
        if asked == "fla" and not self.possible:
            raise ModuleNotFoundError("kernels=fla needs flash-linear-attention", name=PACKAGE)
        if asked == "fla" and not torch.cuda.is_available():
            raise RuntimeError(
                "kernels=fla needs a CUDA device, and there is none: take kernels=auto or kernels=reference"
            )

    def forward(self, *given: Any) -> tuple[Tensor, Tensor | None]:
        if not self.possible or given[0].device.type != "cuda" or given[0].shape[1] == 1:
            return self.reference(*given)
        return self.by_kernel(*given)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def by_kernel(self, *given: Any) -> tuple[Tensor, Tensor | None]:
        """By the kernel if it agrees with the reference. Raises RuntimeError where it does not and nothing else was asked for."""
        queries, values, state = given[0], given[2], given[-2]
        dtype = (
            torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else queries.dtype
        )
        key = (queries.shape[2:], values.shape[2:], dtype, queries.device)
        if key not in self.trials:
            self.trials[key] = self.disagreement(given, dtype)
        if self.trials[key]:
            if self.asked == "fla":
                raise RuntimeError(f"kernels=fla: {self.trials[key]}; take kernels=reference")
            self.ran = f"reference ({self.trials[key]})"
            return self.reference(*given)
        self.ran = PACKAGE
        read, after = KERNELS[self.name](given[:-2], dtype, state)
        return read.to(values.dtype), after if state is None or after is None else after.to(
            state.dtype
        )

    def disagreement(self, given: tuple[Any, ...], dtype: torch.dtype) -> str:
        """What is wrong with the kernel at the widths of these inputs; nothing where outputs, state and gradients agree."""
        if dtype not in AGREEMENT:
            return f"{PACKAGE} has no kernel in {str(dtype).removeprefix('torch.')}"
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(given[0].device.type, enabled=False),
        ):
            inputs, state = trial_inputs(given)
            rounded = [x.to(dtype).float().requires_grad_() for x in inputs]
            expected = _with_gradients(lambda: self.reference(*rounded, state, given[-1]), rounded)
            try:
                found = _with_gradients(lambda: KERNELS[self.name](rounded, dtype, state), rounded)
            except Exception as error:  # whatever a kernel raises that does not compile
                return (
                    f"{PACKAGE} raised {type(error).__name__}: {' '.join(str(error).split())[:120]}"
                )
        off = max(
            ((a - b).abs().max() / a.abs().max().clamp_min(1e-6)).item()
            for a, b in zip(expected, found, strict=True)
        )
        return (
            ""
            if off <= AGREEMENT[dtype]
            else f"{PACKAGE} is off by {off:.2g} of what the reference gives"
        )


# --- the trial --------------------------------------------------------------------------------------------------------


def trial_inputs(given: tuple[Any, ...]) -> tuple[list[Tensor], Tensor]:
    """Random inputs for a rule, of the widths of `given` (queries, keys, values, …, state, chunk), and a state.

    Vectors are short. What follows the values is, in this order: decays, in logarithms; then directions of length 1 or
    strengths between 0 and 1, then strengths.
    """
    generator, device = torch.Generator().manual_seed(0), given[0].device

    def random(x: Tensor) -> Tensor:
        return torch.randn(1, LENGTH, *x.shape[2:], generator=generator).to(device)

    queries, keys, values, decays, *rest = (random(x) for x in given[:-2])
    inputs = [
        queries * queries.shape[-1] ** -0.5,
        keys / keys.norm(dim=-1, keepdim=True),
        values,
        -0.5 * decays.sigmoid(),
    ]
    if rest:
        inputs += [each / each.norm(dim=-1, keepdim=True) for each in rest[:-1]] + [
            rest[-1].sigmoid()
        ]
    state = torch.randn(1, values.shape[2], keys.shape[-1], values.shape[-1], generator=generator)
    return inputs, state.to(device)


def _with_gradients(
    run: Callable[[], tuple[Tensor, Tensor | None]], inputs: list[Tensor]
) -> list[Tensor]:
    """What a rule gives, its next state, and the gradients of the sum of their squares."""
    read, state = run()
    assert state is not None
    loss = read.float().square().sum() + state.float().square().sum()
    return [read.detach().float(), state.detach().float(), *torch.autograd.grad(loss, inputs)]


# --- their kernels under our signatures -------------------------------------------------------------------------------


def _operator(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{PACKAGE}.ops.{module}"), name)


def _same_heads(x: Tensor, like: Tensor) -> Tensor:
    """(B, T, 1, K) -> (B, T, H, K) where all heads share it."""
    return x.expand(*x.shape[:2], like.shape[2], x.shape[3])


def _linear(given: Any, dtype: torch.dtype, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
    queries, keys, values, decays = given
    queries, keys = (_same_heads(x, values).to(dtype) for x in (queries, keys))
    operator = (
        _operator("simple_gla", "chunk_simple_gla")
        if decays.dim() == 3
        else _operator("gla", "chunk_gla")
    )
    decays = decays.float().expand(values.shape[0], *decays.shape[1:])
    return _run_kernel(operator, state, q=queries, k=keys, v=values.to(dtype), g=decays)


def _gated_delta(
    given: Any, dtype: torch.dtype, state: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    queries, keys, values, decays, strengths = given
    operator, parts = (
        _operator("gated_delta_rule", "chunk_gated_delta_rule"),
        (x.to(dtype) for x in (queries, keys, values)),
    )
    return _run_kernel(
        operator,
        state,
        **dict(zip("qkv", parts, strict=True)),
        g=decays.float(),
        beta=strengths.to(dtype),
    )


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
