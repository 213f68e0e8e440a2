"""The sLSTM, a layer whose gates depend on the last output: tokens are processed one by one.

The loop over time is inside one operation, forward and backward.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive
from architectures.short_convolution import ShortConvolution


class ScalarMemory(NamedTuple):
    """Per head, all (H, B, K): last output; cell and weight, divided by exp(largest); largest."""

    output: Tensor
    cell: Tensor
    weight: Tensor
    largest: Tensor


class SLSTMState(NamedTuple):
    """The state of the layer: memory, and last inputs of its convolution (B, kernel - 1, D)."""

    memory: ScalarMemory
    past: Tensor


class SLSTM(nn.Module):
    """The layer of section 2.2 (Beck et al. 2024, arXiv:2405.04517), (B, T, D), K = D / H.

    As in the paper's block, input and forget gate read a short convolution of the input, and a
    LayerNorm over each head ends it. Raise ValueError where H does not divide D.
    """

    def __init__(self, width: int, heads: int, kernel: int = 4) -> None:
        super().__init__()
        if width % require_positive("heads", heads):
            raise ValueError(f"the heads={heads} of an sLSTM must divide the width={width}")
        self.heads, self.head_width = heads, width // heads
        self.convolution = ShortConvolution(width, kernel)
        self.gates = nn.Linear(width, 2 * width)  # per head: input gate, then forget gate
        self.into = nn.Linear(width, 2 * width)  # per head: value, then output gate
        self.recurrent = nn.Parameter(torch.zeros(heads, self.head_width, 4 * self.head_width))
        self.norm = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, state: SLSTMState | None) -> tuple[Tensor, SLSTMState | None]:
        mixed, past = self.convolution(x, None if state is None else state.past)
        parts = (self.gates(functional.silu(mixed)), self.into(x))
        heads = [part.unflatten(2, (self.heads, -1)) for part in parts]
        memory = self.init_memory(x.shape[0], x) if state is None else state.memory
        outputs, after = slstm(torch.cat(heads, dim=-1), self.recurrent, memory)  # (B, T, H, 4·K)
        normed = functional.layer_norm(outputs, outputs.shape[-1:], eps=1e-6)
        normed = normed.flatten(2) * self.norm  # (B, T, D)
        return normed, None if past is None else SLSTMState(after, past)

    def init_memory(self, batch: int, like: Tensor) -> ScalarMemory:
        """Return an empty memory, in float32 at least; its largest stands for minus infinity."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        zeros = like.new_zeros(self.heads, batch, self.head_width, dtype=dtype)
        return ScalarMemory(zeros, zeros.clone(), zeros.clone(), zeros - 1e30)

    def init_state(self, batch: int, like: Tensor) -> SLSTMState:
        """Return the state of an empty text."""
        return SLSTMState(self.init_memory(batch, like), self.convolution.init_state(batch, like))

    @torch.no_grad()
    def initialise(self) -> None:
        """Let no gate depend on the last output yet; the numbers of a head keep ever more."""
        self.recurrent.zero_()
        bias = self.gates.bias.view(self.heads, 2, self.head_width)
        bias[:, 0], bias[:, 1] = 0.0, torch.linspace(3.0, 6.0, self.head_width)

    def flops(self, length: int, full_mask: bool) -> float:
        """Count per token: 8·D² for the maps of the input, for any length."""
        return 2 * (self.gates.weight.numel() + self.into.weight.numel())

    def unchecked_flops(self) -> float:
        """Count per token: 8·D·K for the maps of the last output, and the convolution."""
        return 2 * self.recurrent.numel() + self.convolution.flops()


def slstm(inputs: Tensor, recurrent: Tensor, memory: ScalarMemory) -> tuple[Tensor, ScalarMemory]:
    """Apply exponential gating with memory mixing (arXiv:2405.04517, equations 8 to 18).

    `inputs` (B, T, H, 4·K): what the input adds to input gate, forget gate, value and output gate;
    `recurrent` (H, K, 4·K): what the last output adds. Return the outputs (B, T, H, K), and a
    memory without gradient.
    """
    wide = memory.output.dtype
    steps = inputs.permute(1, 2, 0, 3).to(wide).contiguous()  # (B, T, H, 4·K) -> (T, H, B, 4·K)
    with torch.autocast(steps.device.type, enabled=False):  # no half precision in the recurrence
        outputs, cells, weights, largest, _ = _forward(steps, recurrent.to(wide), *memory)
    last = (each[-1].detach().clone() for each in (outputs, cells, weights, largest))
    outputs = outputs.permute(2, 0, 1, 3).to(inputs.dtype)  # (T, H, B, K) -> (B, T, H, K)
    return outputs, ScalarMemory(*last)


@torch.library.custom_op("architectures::slstm", mutates_args=())
def _forward(  # noqa: PLR0915 (a call per time step would cost time)
    steps: Tensor, recurrent: Tensor, output: Tensor, cell: Tensor, weight: Tensor, largest: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return outputs, cells, weights, largest, (T, H, B, K) each, and gates, (5, T, H, B, K)."""
    rows = []
    for step in steps.unbind(0):
        gates = torch.baddbmm(step, output, recurrent)
        enter, forget, value, gate = gates.chunk(4, dim=-1)  # each (H, B, K)
        decay = functional.logsigmoid(forget) + largest
        # what all is divided by cancels in cell / weight, and needs no gradient
        largest = torch.maximum(decay, enter)
        share, keep, value = (enter - largest).exp(), (decay - largest).exp(), value.tanh()
        cell, weight, gate = keep * cell + share * value, keep * weight + share, gate.sigmoid()
        output = gate * (cell / weight)
        used = torch.stack([share, keep, value, gate, torch.sigmoid(-forget)])
        rows.append((output, cell, weight, largest, used))
    *states, all_gates = zip(*rows, strict=True)
    outputs, cells, weights, tops = (torch.stack(each) for each in states)
    return outputs, cells, weights, tops, torch.stack(all_gates, dim=1)


@torch.library.custom_op("architectures::slstm_backward", mutates_args=())
def _backward(  # noqa: PLR0915 (a call per time step would cost time)
    slopes: Tensor, recurrent: Tensor, gates: Tensor, states: list[Tensor]
) -> Tensor:
    """Return the slopes of steps, (T, H, B, 4·K), of those of outputs, (T, H, B, K).

    `states`: cells and weights, (T, H, B, K) each, and both before the first token.
    """
    cells, weights, first_cell, first_weight = states
    to_cell = to_weight = to_output = torch.zeros_like(first_cell)
    back = []
    for t in range(slopes.shape[0] - 1, -1, -1):
        share, keep, value, gate, forgets = gates[:, t].unbind(0)
        before, before_weight = (cells[t - 1], weights[t - 1]) if t else (first_cell, first_weight)
        mean, slope = cells[t] / weights[t], slopes[t] + to_output
        of_mean = slope * gate / weights[t]
        to_cell, to_weight = to_cell + of_mean, to_weight - of_mean * mean
        enter = (to_cell * value + to_weight) * share
        forget = (to_cell * before + to_weight * before_weight) * keep * forgets
        of_value, of_gate = to_cell * share * (1 - value**2), slope * mean * gate * (1 - gate)
        step = torch.cat([enter, forget, of_value, of_gate], dim=-1)
        to_cell, to_weight = to_cell * keep, to_weight * keep
        to_output = torch.bmm(step, recurrent.mT)
        back.append(step)
    return torch.stack(back[::-1])


@_forward.register_fake
def _(
    steps: Tensor, recurrent: Tensor, output: Tensor, cell: Tensor, weight: Tensor, largest: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    each = steps.new_empty(steps.shape[0], *output.shape)
    return each, each.clone(), each.clone(), each.clone(), steps.new_empty(5, *each.shape)


@_backward.register_fake
def _(slopes: Tensor, recurrent: Tensor, gates: Tensor, states: list[Tensor]) -> Tensor:
    return slopes.new_empty(*slopes.shape[:-1], 4 * slopes.shape[-1])


def _save_for_backward(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    _, recurrent, start, cell, weight, _ = inputs
    outputs, cells, weights, tops, gates = output
    ctx.mark_non_differentiable(cells, weights, tops, gates)
    ctx.save_for_backward(recurrent, start, outputs, gates, cells, weights, cell, weight)


def _slopes(ctx: Any, slopes: Tensor, *_: Any) -> tuple[Tensor, Tensor, None, None, None, None]:
    recurrent, start, outputs, gates, *states = ctx.saved_tensors
    steps = _backward(slopes, recurrent, gates, states)
    before = torch.cat([start[None], outputs[:-1]])  # (T, H, B, K): the output before each token
    return steps, torch.einsum("thbk,thbg->hkg", before, steps), None, None, None, None


_forward.register_autograd(_slopes, setup_context=_save_for_backward)
