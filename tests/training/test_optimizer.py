"""How every parameter is treated, and Muon against that of torch."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from syrupy.assertion import SnapshotAssertion
from torch import nn

from bench.config.errors import UserError
from bench.config.schema import OptimizerConfig
from bench.model.contract import ModelUnderTest
from bench.training import build_optimizer, muon_precision, parameter_kinds
from bench.training.muon import PRECISIONS, Muon, choose_precision, orthogonalise
from tests.conftest import each_architecture

SHAPES = [(24, 8), (8, 24), (16, 16), (24, 8), (5, 40)]


def treatments(model: nn.Module) -> list[str]:
    """Return name, kind, optimizer and weight decay of each parameter under muon, by layer."""
    optimizer = build_optimizer(model, OptimizerConfig(kind="muon"), 1e-3)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    rows = []
    for name, parameter in model.named_parameters():
        group = groups[id(parameter)]
        with_muon = "Muon" if "momentum" in group else "AdamW"
        kind = parameter_kinds(model)[name]
        layer = re.sub(r"\.\d+\.", ".#.", name)
        rows.append(f"{layer} {kind}: {with_muon}, decay {group['weight_decay']}")
    return list(dict.fromkeys(rows))


@pytest.mark.parametrize("path", each_architecture())
def test_every_parameter_of_every_architecture(path: Path, snapshot: SnapshotAssertion) -> None:
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert treatments(ModelUnderTest(arch).build()) == snapshot


def test_a_parameter_is_what_its_module_declares() -> None:
    module = nn.Module()
    module.stack = nn.Parameter(torch.zeros(2, 3, 4))
    assert parameter_kinds(module) == {"stack": "kernel"}
    module.parameter_kinds = {"stack": "matrix"}
    assert parameter_kinds(module) == {"stack": "matrix"}
    module.parameter_kinds = {"stack": "tensor"}
    with pytest.raises(UserError) as error:
        parameter_kinds(module)
    assert error.value.code == "invalid-architecture"


def test_only_vectors_are_not_decayed_by_adamw() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Conv1d(4, 4, 3), nn.LayerNorm(4))
    decays = {
        id(p): group["weight_decay"]
        for group in build_optimizer(model, OptimizerConfig(), 1e-3).param_groups
        for p in group["params"]
    }
    named = {name: decays[id(p)] for name, p in model.named_parameters()}
    assert {name for name, decay in named.items() if decay} == {"0.weight", "1.weight", "2.weight"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_muon_of_torch(precision: str) -> None:
    """Within the rounding of bfloat16, in which torch orthogonalises, over several steps."""
    draw = torch.Generator().manual_seed(0)
    own, theirs = (
        [nn.Parameter(torch.randn(*shape, generator=draw.manual_seed(1))) for shape in SHAPES]
        for _ in range(2)
    )
    optimizers = (
        Muon(own, 0.01, 0.1, 0.9, precision),
        torch.optim.Muon(theirs, 0.01, 0.1, 0.9, adjust_lr_fn="match_rms_adamw"),
    )
    start = [p.detach().clone() for p in own]
    for step in range(4):
        for number, pair in enumerate(zip(own, theirs, strict=True)):
            gradient = torch.randn(pair[0].shape, generator=draw.manual_seed(100 * step + number))
            for parameter in pair:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(own, theirs, start, strict=True):
        apart = (one - other).norm() / (other - before).norm()
        assert apart < 0.02


def test_stacked_matrices_are_orthogonalised_one_by_one() -> None:
    stack = torch.randn(3, 6, 9, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([orthogonalise(matrix[None], torch.float32) for matrix in stack])
    assert torch.allclose(orthogonalise(stack, torch.float32), alone, atol=1e-5)
    gates = nn.Module()
    gates.gates = nn.Parameter(stack.clone())
    gates.parameter_kinds = {"gates": "matrix"}
    optimizer = build_optimizer(gates, OptimizerConfig(kind="muon", weight_decay=0.0), 0.01)
    gates.gates.grad = stack.clone()
    optimizer.step()
    step = (stack - gates.gates.detach()) / (0.01 * 0.2 * 9**0.5)
    singular = torch.linalg.svdvals(step)
    assert ((singular > 0.5) & (singular < 1.5)).all()


@pytest.mark.parametrize(
    ("capability", "has_bfloat16", "precision"),
    [("AVX512", True, "bfloat16"), ("AVX512", False, "float32"), ("AVX2", True, "float32")],
)
def test_bfloat16_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: str, has_bfloat16: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    assert choose_precision([torch.ones(2, 2)]) == precision


def test_a_resumed_optimizer_keeps_its_precision() -> None:
    layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
    first, second = (build_optimizer(one, OptimizerConfig(kind="muon"), 1e-3) for one in layers)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[muon_precision(first)]
    first.param_groups[0]["precision"] = other
    second.load_state_dict(first.state_dict())
    assert muon_precision(second) == other
    assert muon_precision(build_optimizer(layers[0], OptimizerConfig(), 1e-3)) == ""
