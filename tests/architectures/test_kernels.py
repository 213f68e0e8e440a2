"""Which kernel a recurrence runs on: chosen, held to the reference, refused with what to do, and in the record."""

import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import tomllib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from architectures.gated_deltanet import gated_delta_rule
from architectures.kernels import KERNELS, Kernels, Recurrence, trial_inputs
from architectures.linear import linear_attention
from architectures.rwkv7 import generalised_delta_rule
from bench import model
from bench.config import identity
from bench.config.errors import UserError
from tests.conftest import OWN, ROOT

RULES: dict[str, Callable[..., Any]] = {
    "linear_attention": linear_attention,
    "gated_delta_rule": gated_delta_rule,
    "generalised_delta_rule": generalised_delta_rule,
}
NAMES = ["mamba2", "retnet", "gla", "gated_deltanet", "rwkv7"]


def given(
    name: str,
    keys: int = 4,
    values: int = 6,
    rows: bool = False,
    length: int = 9,
    device: str = "cpu",
) -> tuple[Any, ...]:
    """Inputs of a rule for two texts, a state and a chunk length. `rows`: a decay for each row of a head's matrix."""
    generator, heads = torch.Generator().manual_seed(3), 2

    def random(*shape: int) -> Tensor:
        return torch.randn(2, length, heads, *shape, generator=generator)

    shapes = {
        "linear_attention": [(keys,), (keys,), (values,), (keys,) if rows else ()],
        "gated_delta_rule": [(keys,), (keys,), (values,), (), ()],
        "generalised_delta_rule": [(keys,)] * 6,
    }[name]
    example = (*(random(*shape) for shape in shapes), None, 4)
    inputs, state = trial_inputs(example)
    cut = [x[:, :length].expand(2, *[-1] * (x.dim() - 1)).to(device) for x in inputs]
    return (*cut, state.expand(2, -1, -1, -1).to(device), 4)


# --- a package of our own in the place of theirs: the recurrences step by step, under their names -


def stepped(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, state: Tensor | None, erase: Any
) -> tuple[Tensor, Tensor]:
    S = q.new_zeros(*q.shape[:1], *q.shape[2:], v.shape[-1]) if state is None else state
    reads = []
    for t in range(q.shape[1]):
        S = erase(S * decay[:, t].exp().view(*decay.shape[:1], decay.shape[2], -1, 1), S, t)
        S = S + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        reads.append((q[:, t].unsqueeze(-2) @ S).squeeze(-2))
    return torch.stack(reads, dim=1), S


def package(fault: float = 1.0) -> dict[str, ModuleType]:
    """Modules by their names; `fault` is what every output is multiplied by."""

    def gla(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        scale: float,
        initial_state: Any,
        output_final_state: bool,
    ) -> Any:
        read, after = stepped(q * scale * fault, k, v, g, initial_state, lambda faded, S, t: faded)
        return read, after if output_final_state else None

    def delta(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        beta: Tensor,
        scale: float,
        initial_state: Any,
        output_final_state: bool,
    ) -> Any:
        def erase(faded: Tensor, S: Tensor, t: int) -> Tensor:
            known = k[:, t].unsqueeze(-2) @ faded
            return faded - (beta[:, t, :, None] * k[:, t]).unsqueeze(-1) * known

        written = v * beta.unsqueeze(-1)
        read, after = stepped(q * scale * fault, k, written, g, initial_state, erase)
        return read, after if output_final_state else None

    def rwkv7(
        r: Tensor,
        w: Tensor,
        k: Tensor,
        v: Tensor,
        a: Tensor,
        b: Tensor,
        scale: float,
        initial_state: Any,
        output_final_state: bool,
    ) -> Any:
        def erase(faded: Tensor, S: Tensor, t: int) -> Tensor:
            return faded + b[:, t].unsqueeze(-1) * (a[:, t].unsqueeze(-2) @ S)

        read, after = stepped(r * scale * fault, k, v, w, initial_state, erase)
        return read, after if output_final_state else None

    operators = {
        "simple_gla": {"chunk_simple_gla": gla},
        "gla": {"chunk_gla": gla},
        "gated_delta_rule": {"chunk_gated_delta_rule": delta},
        "rwkv7": {"chunk_rwkv7": rwkv7},
    }
    made = {
        name: ModuleType(name)
        for name in ("fla", "fla.ops", *(f"fla.ops.{part}" for part in operators))
    }
    made["fla"].__spec__ = importlib.machinery.ModuleSpec("fla", None)
    for part, functions in operators.items():
        vars(made[f"fla.ops.{part}"]).update(functions)
    return made


def install(monkeypatch: pytest.MonkeyPatch, modules: dict[str, ModuleType]) -> None:
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


CASES = [(name, False) for name in RULES] + [("linear_attention", True)]


@pytest.mark.parametrize(("name", "rows"), CASES)
def test_a_kernel_that_agrees_runs_and_gives_what_the_reference_does(
    name: str, rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, package())
    recurrence, inputs = Recurrence(RULES[name], name, "fla"), given(name, rows=rows)
    for ours, theirs in zip(recurrence.by_kernel(*inputs), RULES[name](*inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert recurrence.ran == "fla"


@pytest.mark.parametrize("name", RULES)
def test_a_kernel_that_does_not_agree_never_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, package(fault=1.1))
    recurrence, inputs = Recurrence(RULES[name], name, "auto"), given(name)
    assert torch.equal(recurrence.by_kernel(*inputs)[0], RULES[name](*inputs)[0])
    assert recurrence.ran.startswith("reference (fla is off by 0.")
    with pytest.raises(RuntimeError, match=r"kernels=fla: fla .*kernels=reference"):
        Recurrence(RULES[name], name, "fla").by_kernel(*inputs)
    del sys.modules["fla.ops.gla"].chunk_gla, sys.modules["fla.ops.simple_gla"].chunk_simple_gla
    if name == "linear_attention":
        later = Recurrence(RULES[name], name, "auto")
        later.by_kernel(*inputs)
        assert "fla raised AttributeError" in later.ran


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_on_a_cpu_it_is_the_reference(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, package(fault=1.1))
    recurrence, inputs = (
        Recurrence(linear_attention, "linear_attention", kernels),
        given("linear_attention"),
    )
    assert torch.equal(recurrence(*inputs)[0], linear_attention(*inputs)[0])
    assert (recurrence.ran, recurrence.trials) == ("reference", {})


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_that_cannot_be_used_is_explained(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = yaml.safe_load(
        next(path for path in OWN if path.stem == name).read_text(encoding="utf-8")
    )
    assert arch["kernels"] == "auto"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    lines = [f"{line}; extra == '{extra}'" for extra, needed in extras.items() for line in needed]
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: lines
    )  # as once this version is installed
    with pytest.raises(
        model.ModelBuildError,
        match=r"flash-linear-attention.*architecture-bench\[fla\]",
    ):
        model.build_model(arch | {"kernels": "fla"}, 8, 8, 5, 0)
    monkeypatch.undo()
    install(monkeypatch, package())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        model.ModelBuildError,
        match=r"CUDA device.*kernels=auto",
    ):
        model.build_model(arch | {"kernels": "fla"}, 8, 8, 5, 0)
    with pytest.raises(UserError, match="kernels=fast"):
        model.build_model(arch | {"kernels": "fast"}, 8, 8, 5, 0)


def test_the_record_says_what_ran_and_auto_is_as_good_as_not_given() -> None:
    arch = yaml.safe_load(
        next(path for path in OWN if path.stem == "retnet").read_text(encoding="utf-8")
    )
    built = model.build_model(arch, 8, 8, 5, 0)
    assert built.backbone.ran_on() == "reference"
    next(module for module in built.modules() if isinstance(module, Recurrence)).ran = "fla"
    assert built.backbone.ran_on() == "fla, reference"
    rnn = model.build_model({"_target_": "architectures.rnn.RNN"}, 8, 8, 5, 0)
    assert rnn.backbone.ran_on() == ""
    unsaid = {key: value for key, value in arch.items() if key != "kernels"}
    assert identity.architecture_id(arch) == identity.architecture_id(unsaid)
    assert identity.architecture_id(arch | {"kernels": "reference"}) != identity.architecture_id(
        unsaid
    )


@pytest.mark.cuda
@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("fla") is None,
    reason="needs CUDA and flash-linear-attention",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "rows"), CASES)
def test_their_kernels_agree_on_this_device(name: str, rows: bool, dtype: torch.dtype) -> None:
    inputs = given(name, keys=64, values=64, rows=rows, length=70, device="cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        recurrence = Recurrence(RULES[name], name, "fla")
        read, state = recurrence(*inputs)
    assert recurrence.ran == "fla"
    expected, after = RULES[name](*inputs)
    assert state is not None
    for ours, theirs in ((read, expected), (state, after)):
        assert (ours.float() - theirs).abs().max() <= 0.05 * theirs.abs().max()
    assert set(RULES) == set(KERNELS)
