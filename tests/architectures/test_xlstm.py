"""xLSTM: the matrix memory in chunks and the scalar memory in its loop, each against the paper's equations and others' code."""

import pytest
import torch
from torch import Tensor, nn

from architectures.mlstm import MLSTM, MatrixMemory, mlstm
from architectures.slstm import SLSTM, ScalarMemory, slstm
from architectures.xlstm import XLSTM
from bench.model import ModelBuildError
from bench.model.contract import CHECKS, ModelUnderTest, run_check
from tests.architectures.test_recurrent import (
    CONTEXT,
    HEADS,
    WIDTH,
    close,
    finding,
    joined,
    made,
    random,
    read,
)


def test_xlstm_parity_with_transformers() -> None:
    from transformers import xLSTMConfig, xLSTMModel

    ours = XLSTM(WIDTH, CONTEXT, 2, HEADS, chunk=8).eval()
    config = xLSTMConfig(
        hidden_size=WIDTH, num_hidden_layers=2, num_heads=HEADS, vocab_size=2, chunk_size=8, eos_token_id=None,
        ffn_proj_factor=ours.hidden / WIDTH, ffn_round_up_to_multiple_of=8,
    )  # fmt: skip
    theirs = made(xLSTMModel(config))
    theirs.out_norm = nn.Identity()
    for block, layer in zip(ours.blocks, theirs.blocks, strict=True):
        weights = layer.state_dict()
        parts = {
            end: (f"mlstm_layer.igate_preact.{end}", f"mlstm_layer.fgate_preact.{end}")
            for end in ("weight", "bias")
        }
        block.load_state_dict({
            "memory_norm.weight": weights["norm_mlstm.weight"],
            "memory.into.weight": joined(weights, *(f"mlstm_layer.{part}.weight" for part in ("q", "k", "v", "ogate_preact"))),
            **{f"memory.gates.{end}": joined(weights, *names) for end, names in parts.items()},
            "memory.norm": weights["mlstm_layer.multihead_norm.weight"],
            "memory.out.weight": weights["mlstm_layer.out_proj.weight"],
            "feed_norm.weight": weights["norm_ffn.weight"],
            "feed.into.weight": joined(weights, "ffn.proj_up_gate.weight", "ffn.proj_up.weight"),
            "feed.out.weight": weights["ffn.proj_down.weight"],
        })  # fmt: skip
    x = random(2, CONTEXT, WIDTH).float()
    close(ours(x)[0], theirs(inputs_embeds=x, use_cache=False).last_hidden_state)


def streams(length: int, spread: float = 2.0) -> list[Tensor]:
    """Queries, keys, values, and both gates before their bends."""
    shapes = [
        (2, 3, length, 4),
        (2, 3, length, 4),
        (2, 3, length, 5),
        (2, 3, length),
        (2, 3, length),
    ]
    return [random(*shape, seed=i) * (spread if i > 2 else 1.0) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("chunk", [1, 4, 5, 64])
def test_mlstm_parity_with_its_recurrence(chunk: int) -> None:
    """The paper's equations without a stabiliser, token by token, from a start that is not empty."""
    queries, keys, values, enter, keep = streams(19)
    matrix, total, expected = random(2, 3, 4, 5, seed=7), random(2, 3, 4, seed=8), []
    start = MatrixMemory(matrix, total, torch.zeros(2, 3, dtype=torch.float64))
    for t in range(19):
        i, f = enter[:, :, t].exp(), keep[:, :, t].sigmoid()
        written = keys[:, :, t, :, None] * values[:, :, t, None, :]
        matrix = f[..., None, None] * matrix + i[..., None, None] * written
        total = f[..., None] * total + i[..., None] * keys[:, :, t]
        weight = (queries[:, :, t] * total).sum(-1).abs().clamp(min=1.0)
        expected.append((queries[:, :, t, None] @ matrix)[:, :, 0] / weight[..., None])
    mixed, after = mlstm(tuple(streams(19)), start, chunk)
    close(mixed, torch.stack(expected, dim=2), 1e-9)
    close(after.matrix * after.largest.exp()[..., None, None], matrix, 1e-9)


def test_mlstm_has_the_gradient_of_what_it_computes() -> None:
    """Chunk borders included; what is divided by comes out again, and passes no gradient on."""
    arguments = [each[:1, :1].requires_grad_() for each in streams(7)]
    for chunk in (3, 64):
        assert torch.autograd.gradcheck(
            lambda *all_, chunk=chunk: mlstm(all_, None, chunk)[0], arguments
        )


def test_mlstm_gates_at_their_limits_stay_finite() -> None:
    for enter, keep in ((15.0, 15.0), (15.0, -15.0), (-15.0, 15.0), (-15.0, -15.0)):
        queries, keys, values, gate, _ = (each.float() for each in streams(300))
        gates = (torch.full_like(gate, enter), torch.full_like(gate, keep))
        mixed, _ = mlstm((queries, keys, values, *gates), None, 64)
        assert mixed.isfinite().all()


@pytest.mark.parametrize("check", ["causality", "pieces", "flops"])
def test_xlstm_keeps_the_contract_over_chunk_borders(check: str) -> None:
    assert finding(check, **read("xlstm") | {"chunk": 5}).startswith("passed")


def test_slstm_parity_with_its_recurrence() -> None:
    """The paper's equations without a stabiliser, and its gradient, token by token in float64."""
    inputs, recurrent = 2 * random(2, 9, 3, 16), random(3, 4, 16, seed=1)
    start = SLSTM(12, 3).init_memory(2, inputs)
    output = cell = weight = torch.zeros(2, 3, 4, dtype=torch.float64)
    mixed, after = slstm(inputs[:, :4], recurrent, start)
    mixed = torch.cat([mixed, slstm(inputs[:, 4:], recurrent, after)[0]], dim=1)
    for t in range(9):
        i, f, z, o = (inputs[:, t] + torch.einsum("bhk,hkg->bhg", output, recurrent)).chunk(
            4, dim=-1
        )
        cell, weight = f.sigmoid() * cell + i.exp() * z.tanh(), f.sigmoid() * weight + i.exp()
        output = o.sigmoid() * cell / weight
        close(mixed[:, t], output, 1e-9)
    arguments = [
        each.requires_grad_() for each in (inputs[:1, :5, :2].clone(), recurrent[:2].clone())
    ]
    later = ScalarMemory(*(each[:2, :1] for each in after))
    for memory in (SLSTM(8, 2).init_memory(1, inputs), later):
        assert torch.autograd.gradcheck(
            lambda *both, memory=memory: slstm(*both, memory)[0], arguments
        )


def test_slstm_layer_parity_with_its_block() -> None:
    """Which gate sees the convolution, which the input, in which order, and the norm over heads."""
    layer, x = made(SLSTM(8, 2).double()), random(2, 5, 8)
    convolved = nn.functional.silu(layer.convolution(x)[0])
    enter, keep = layer.gates(convolved).view(2, 5, 2, 2, 4).unbind(3)  # (B, T, H, K) each
    value, gate = layer.into(x).view(2, 5, 2, 2, 4).unbind(3)
    output = cell = weight = torch.zeros(2, 2, 4, dtype=torch.float64)
    for t in range(5):
        seen = torch.einsum("bhk,hkg->bhg", output, layer.recurrent).view(2, 2, 4, 4).unbind(2)
        i, f = (enter[:, t] + seen[0]).exp(), (keep[:, t] + seen[1]).sigmoid()
        cell, weight = f * cell + i * (value[:, t] + seen[2]).tanh(), f * weight + i
        output = (gate[:, t] + seen[3]).sigmoid() * cell / weight
        deviation = (output.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        expected = ((output - output.mean(-1, keepdim=True)) / deviation).flatten(1) * layer.norm
        close(layer(x, None)[0][:, t], expected, 1e-9)


def test_xlstm_with_an_slstm_layer_keeps_the_contract() -> None:
    arch = read("xlstm") | {"layers": 2, "slstm_at": [1]}
    assert [type(memory) for memory in XLSTM(WIDTH, CONTEXT, 2, slstm_at=[1]).memories()] == [
        MLSTM,
        SLSTM,
    ]
    subject, asked = ModelUnderTest(arch), {"gradients", "causality", "pieces", "flops", "tracing"}
    found = [run_check(check, subject) for check in CHECKS if check.name in asked]
    assert [finding.status for finding in found] == ["passed"] * 5, [
        finding.sentence() for finding in found
    ]


def test_slstm_layers_that_are_not_there_are_named() -> None:
    with pytest.raises(
        ModelBuildError, match=r"slstm_at=\[4\] names layer 4, and the layers are 0 to 3"
    ):
        ModelUnderTest(read("xlstm") | {"slstm_at": [4]})
    with pytest.raises(ValueError, match="heads=4 of an sLSTM must divide the width=30"):
        XLSTM(30, CONTEXT, slstm_at=[0])
