"""Export the one-token step of a model, and compile it ahead of time for this processor.

`torch.export` traces the architecture's own `forward` with its state, AOTInductor makes C++ of it.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from architectures.interface import Unsupported
from bench.model.decoding.state_form import LEAST, StateForm, state_form, state_room
from bench.model.language_model import LanguageModel
from bench.model.plugin import PLUGIN_ERRORS, describe_error

aten = torch.ops.aten
INDUCTOR_OPTIONS: dict[str, Any] = {
    # what a product reads is computed once, not in its loop for every row of the weight
    "realize_opcount_threshold": 0,
    "aot_inductor.package_constants_in_so": False,  # the weights are those of the model in use
    "compile_threads": 1,
}
AVX2_OPTIONS = {"cpp.simdlen": 256, "cpp.march": "x86-64-v3"}


class TensorStep(nn.Module):
    """Take a token (B, 1) and a state as tensors; return logits (B, 1, V) and the next state's."""

    def __init__(self, model: LanguageModel, form: StateForm) -> None:
        super().__init__()
        self.model, self.form = model, form

    def forward(self, token: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        logits, state = self.model(token, self.form.to_state(list(tensors)))
        return logits, *self.form.to_tensors(state)


def export_step(model: LanguageModel, rows: int) -> torch.export.ExportedProgram:
    """Return the step of a model in evaluation mode, for states with the room of `state_room`.

    Raise Unsupported, with torch's reason, where it cannot be exported.
    """
    room = state_room(model, rows)
    form = state_form(model, rows, room)
    prompt = torch.zeros(rows, room // 2, dtype=torch.long)
    try:
        position = torch.export.Dim("position", min=LEAST, max=room - 2)
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # of torch about itself
            tensors = form.to_tensors(model(prompt, model.init_state(rows, room))[1])
            shapes = [{0: position} if i in form.counters else None for i in range(len(tensors))]
            exported = torch.export.export(
                TensorStep(model, form),
                (prompt[:, :1], *tensors),
                dynamic_shapes=(None, *[tuple(shapes)] * bool(tensors)),
                strict=False,
            )
            return exported.run_decompositions(torch.export.default_decompositions() | ONE_ROW)
    except PLUGIN_ERRORS as error:
        raise Unsupported(f"it cannot be exported: {describe_error(error)}") from None


def compile_step(exported: torch.export.ExportedProgram, path: Path) -> None:
    """Write the compiled step, without weights. Raise Unsupported where compiling fails."""
    narrow = torch.backends.cpu.get_cpu_capability() == "AVX2"
    options = INDUCTOR_OPTIONS | (AVX2_OPTIONS if narrow else {})
    from torch._inductor import aoti_compile_and_package  # slow to import

    try:
        with warnings.catch_warnings(action="ignore"):
            aoti_compile_and_package(exported, package_path=str(path), inductor_configs=options)
    except PLUGIN_ERRORS as error:
        raise Unsupported(f"it cannot be compiled: {describe_error(error)}") from None


# --- products of one row --------------------------------------------------------------------------
# A library's product of one row takes 17 to 27 µs whatever its size; as a sum it is a loop that is
# compiled together with what surrounds it.


def row_product(row: Tensor, matrix: Tensor) -> Any:
    """Return (1, K) @ (K, N) as a sum."""
    return (row.T * matrix).sum(0, keepdim=True) if row.shape[0] == 1 else NotImplemented


def row_product_with_bias(
    bias: Tensor, row: Tensor, matrix: Tensor, *, beta: float = 1, alpha: float = 1
) -> Any:
    """Return bias + (1, K) @ (K, N) as a sum."""
    if row.shape[0] != 1 or (beta, alpha) != (1, 1):
        return NotImplemented
    return bias + (row.T * matrix).sum(0, keepdim=True)


def one_place_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Any:
    """Return a convolution of one row with one output place, (1, C, L) -> (1, O, 1), as a sum."""
    _, padding, dilation, transposed, _, groups = options
    if transposed or any(padding) or x.dim() != 3 or x.shape[0] != 1:
        return NotImplemented
    outputs, _, kernel = weight.shape
    if x.shape[2] != (kernel - 1) * dilation[0] + 1:
        return NotImplemented
    taps = x[:, :, :: dilation[0]].reshape(groups, 1, -1)  # (G, 1, C / G · kernel)
    mixed = (weight.reshape(groups, outputs // groups, -1) * taps).sum(-1).view(1, outputs, 1)
    return mixed if bias is None else mixed + bias.view(1, outputs, 1)


ONE_ROW = {
    aten.mm.default: row_product,
    aten.addmm.default: row_product_with_bias,
    aten.convolution.default: one_place_convolution,
}
