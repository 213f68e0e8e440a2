"""The sLSTM, a layer whose gates see the last output, so that each token has to wait for the one before it.

The loop over time stands inside one operation, forward and backward.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.layers import require_positive
from architectures.short_convolution import ShortConvolution


class Memory(NamedTuple):
    """Of each head, all (H, B, K): the last output; cell and weight, both divided by exp(largest); and largest."""

    output: Tensor
    cell: Tensor
    weight: Tensor
    largest: Tensor


class LayerState(NamedTuple):
    """What the layer keeps: its memory, and the last inputs of its convolution (B, kernel - 1, D)."""

    memory: Memory
    past: Tensor


class SLSTM(nn.Module):
    """The layer of section 2.2 (Beck et al. 2024, arXiv:2405.04517), (B, T, D) -> (B, T, D), heads K = D / H wide.

    As in the paper's block, the entering and the forget gate see a short convolution of the input, and a LayerNorm over each
    head stands at the end. Raises ValueError where H does not divide D.
    """

    def __init__(self, width: int, heads: int, kernel: int = 4) -> None:
        super().__init__()
        if width % require_positive("heads", heads):
            raise ValueError(f"the heads={heads} of an sLSTM must divide the width={width}")
        self.heads, self.head_width = heads, width // heads
        self.convolution = ShortConvolution(width, kernel)
        self.gates = nn.Linear(width, 2 * width)  # of each head: what enters, then what is kept
        self.into = nn.Linear(width, 2 * width)  # of each head: the value, then the output gate
        self.recurrent = nn.Parameter(torch.zeros(heads, self.head_width, 4 * self.head_width))
        self.norm = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState | None]:
        mixed, past = self.convolution(x, None if state is None else state.past)
        parts = (self.gates(functional.silu(mixed)), self.into(x))
        inputs = torch.cat(
            [part.unflatten(2, (self.heads, -1)) for part in parts], dim=-1
        )  # (B, T, H, 4·K)
        memory = (
            init_memory(x.shape[0], self.heads, self.head_width, x)
            if state is None
            else state.memory
        )
        outputs, after = slstm(inputs, self.recurrent, memory)
        normed = (
            functional.layer_norm(outputs, outputs.shape[-1:], eps=1e-6).flatten(2) * self.norm
        )  # (B, T, D)
        return normed, None if past is None else LayerState(after, past)

    def init_state(self, batch: int, like: Tensor) -> LayerState:
        return LayerState(
            init_memory(batch, self.heads, self.head_width, like),
            self.convolution.init_state(batch, like),
        )

    @torch.no_grad()
    def initialise(self) -> None:
        """No gate sees the last output yet, and much is kept, from number to number of a head more."""
        self.recurrent.zero_()
        bias = self.gates.bias.view(self.heads, 2, self.head_width)
        bias[:, 0], bias[:, 1] = 0.0, torch.linspace(3.0, 6.0, self.head_width)

    def flops(self, length: int, full_mask: bool) -> float:
        """A token: 8·D² for the maps of the input. The same for any length."""
        return 2 * (self.gates.weight.numel() + self.into.weight.numel())

    def unchecked_flops(self) -> float:
        """A token: 8·D·K for the maps of the last output, and the convolution."""
        return 2 * self.recurrent.numel() + self.convolution.flops()


def init_memory(batch: int, heads: int, head_width: int, like: Tensor) -> Memory:
    """An empty memory, in float32 at least: nothing was seen, so the largest is as good as minus infinity."""
    zeros = like.new_zeros(
        heads, batch, head_width, dtype=torch.promote_types(like.dtype, torch.float32)
    )
    return Memory(zeros, zeros.clone(), zeros.clone(), zeros - 1e30)


def slstm(inputs: Tensor, recurrent: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
    """Exponential gating with memory mixing (Beck et al. 2024, arXiv:2405.04517, equations 8 to 18).

    `inputs` (B, T, H, 4·K): what the input adds to entering gate, forget gate, value and output gate; `recurrent`
    (H, K, 4·K): what the last output adds. Returns the outputs (B, T, H, K), and a memory that carries no gradient.
    """
    wide = memory.output.dtype
    steps = inputs.permute(1, 2, 0, 3).to(wide).contiguous()  # (B, T, H, 4·K) -> (T, H, B, 4·K)
    with torch.autocast(
        steps.device.type, enabled=False
    ):  # it would take the products of the recurrence in half precision
        outputs, cells, weights, largest, _ = _forward(steps, recurrent.to(wide), *memory)
    after = Memory(*(each[-1].detach().clone() for each in (outputs, cells, weights, largest)))
    return outputs.permute(2, 0, 1, 3).to(inputs.dtype), after  # (T, H, B, K) -> (B, T, H, K)


@torch.library.custom_op("architectures::slstm", mutates_args=())
def _forward(
    steps: Tensor, recurrent: Tensor, output: Tensor, cell: Tensor, weight: Tensor, largest: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Outputs, cells, weights and largest after each token, (T, H, B, K) each, and what backward needs, (5, T, H, B, K)."""
    kept = []
    for step in steps.unbind(0):
        enter, forget, value, gate = torch.baddbmm(step, output, recurrent).chunk(
            4, dim=-1
        )  # each (H, B, K)
        decay = functional.logsigmoid(forget) + largest
        largest = torch.maximum(
            decay, enter
        )  # what all is divided by cancels in cell / weight, and needs no gradient
        share, keep, value = (enter - largest).exp(), (decay - largest).exp(), value.tanh()
        cell, weight, gate = keep * cell + share * value, keep * weight + share, gate.sigmoid()
        output = gate * (cell / weight)
        kept.append(
            (
                output,
                cell,
                weight,
                largest,
                torch.stack([share, keep, value, gate, torch.sigmoid(-forget)]),
            )
        )
    outputs, cells, weights, tops, gates = zip(*kept, strict=True)
    return (
        torch.stack(outputs),
        torch.stack(cells),
        torch.stack(weights),
        torch.stack(tops),
        torch.stack(gates, dim=1),
    )


@torch.library.custom_op("architectures::slstm_backward", mutates_args=())
def _backward(
    slopes: Tensor,
    recurrent: Tensor,
    gates: Tensor,
    cells: Tensor,
    weights: Tensor,
    cell: Tensor,
    weight: Tensor,
) -> Tensor:
    """Slopes of outputs, (T, H, B, K) -> slopes of steps, (T, H, B, 4·K), from the last token to the first."""
    to_cell, to_weight, to_output, back = (
        torch.zeros_like(cell),
        torch.zeros_like(cell),
        torch.zeros_like(cell),
        [],
    )
    for t in range(slopes.shape[0] - 1, -1, -1):
        share, keep, value, gate, forgets = gates[:, t].unbind(0)
        before, before_weight = (cells[t - 1], weights[t - 1]) if t else (cell, weight)
        mean, slope = cells[t] / weights[t], slopes[t] + to_output
        of_mean = slope * gate / weights[t]
        to_cell, to_weight = to_cell + of_mean, to_weight - of_mean * mean
        enter = (to_cell * value + to_weight) * share
        forget = (to_cell * before + to_weight * before_weight) * keep * forgets
        step = torch.cat(
            [enter, forget, to_cell * share * (1 - value**2), slope * mean * gate * (1 - gate)],
            dim=-1,
        )
        to_cell, to_weight, to_output = (
            to_cell * keep,
            to_weight * keep,
            torch.bmm(step, recurrent.mT),
        )
        back.append(step)
    return torch.stack(back[::-1])


@_forward.register_fake
def _(
    steps: Tensor, recurrent: Tensor, output: Tensor, cell: Tensor, weight: Tensor, largest: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    each = steps.new_empty(steps.shape[0], *output.shape)
    return each, each.clone(), each.clone(), each.clone(), steps.new_empty(5, *each.shape)


@_backward.register_fake
def _(
    slopes: Tensor,
    recurrent: Tensor,
    gates: Tensor,
    cells: Tensor,
    weights: Tensor,
    cell: Tensor,
    weight: Tensor,
) -> Tensor:
    return slopes.new_empty(*slopes.shape[:-1], 4 * slopes.shape[-1])


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    _, recurrent, start, cell, weight, _ = inputs
    outputs, cells, weights, tops, gates = output
    ctx.mark_non_differentiable(cells, weights, tops, gates)
    ctx.save_for_backward(recurrent, start, cell, weight, outputs, cells, weights, gates)


def _slopes(ctx: Any, slopes: Tensor, *_: Any) -> tuple[Tensor, Tensor, None, None, None, None]:
    recurrent, start, cell, weight, outputs, cells, weights, gates = ctx.saved_tensors
    steps = _backward(slopes, recurrent, gates, cells, weights, cell, weight)
    before = torch.cat([start[None], outputs[:-1]])  # (T, H, B, K): what each token saw
    return steps, torch.einsum("thbk,thbg->hkg", before, steps), None, None, None, None


_forward.register_autograd(_slopes, setup_context=_keep)
