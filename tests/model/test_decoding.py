"""Compiled decoding: what is exported, what falls back and why, the cache, equality with eager."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from architectures.interface import Backbone, Unsupported
from bench.model import LanguageModel, build_model, compiler
from bench.model.decoding import check_machine, compiled, compiled_step, export
from bench.model.decoding.state_form import Counter, state_form
from tests.conftest import each_architecture

CONTEXT, VOCABULARY = 48, 30  # windows of attention are shorter
GPT = {"_target_": "architectures.gpt.GPT", "layers": 1, "heads": 2}
EAGER_ONLY = {  # part of the reason
    # a ring of keys that fills within the context
    "griffin": "Constraints violated",
    "sliding_window": "Constraints violated",
    "gla": "differs by",  # the check before use refuses it
    "s4d": "cannot be compiled",
    "huggingface": "CacheState",
    "huggingface_gpt2": "CacheState",
    "huggingface_lfm2": "CacheState",
    "huggingface_llama": "CacheState",
    "huggingface_mamba2": "CacheState",
    "huggingface_xlstm": "CacheState",
}
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


class Running(Backbone):
    """The sum of the inputs so far; `state`: what is kept beside it."""

    causal = True

    def __init__(self, width: int, context: int, state: str = "count") -> None:
        super().__init__(width, context)
        self.kept = state

    def forward(self, x: Tensor, state: Any = None, lengths: Any = None) -> Any:
        if state is None:
            return x.cumsum(1), None
        total, other = state
        if self.kept == "branch" and total.sum() > 1e9:
            total = total * 0
        if self.kept == "count":
            other += x.shape[1]
        elif self.kept == "text":
            other += "a" * x.shape[1]
        elif self.kept == "inputs":
            other = torch.cat([other, x], dim=1)
        sums = total[:, None] + x.cumsum(1)
        return sums, (sums[:, -1], other)

    def init_state(self, batch: int, length: int, like: Tensor) -> Any:
        empty = like.new_zeros(batch, 0, self.width)
        first = {"count": 0, "constant": 7, "text": "", "object": object(), "inputs": empty}
        return like.new_zeros(batch, self.width), first.get(self.kept)

    def flops(self, length: int, full_mask: bool = False) -> float:
        return 0.0


def make(arch: dict[str, Any], width: int = 8) -> LanguageModel:
    return build_model(arch, width, CONTEXT, VOCABULARY, seed=0).eval()


def running(kept: str) -> LanguageModel:
    return make({"_target_": f"{__name__}.Running", "state": kept})


# --- the form of a state --------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "kind"), [("count", Counter), ("constant", 7)])
def test_a_state_becomes_tensors_and_back(kept: str, kind: Any) -> None:
    model = running(kept)
    form = state_form(model, 1, CONTEXT)
    assert form.leaves == ((1, 8), kind)
    state = model(torch.zeros(1, 5, dtype=torch.long), model.init_state(1, CONTEXT))[1]
    tensors = form.to_tensors(state)
    assert [tuple(x.shape) for x in tensors] == [(1, 8), (5, 0)][: len(tensors)]
    assert form.counters == ([1] if kept == "count" else [])
    total, other = form.to_state(tensors)
    assert total is state[0]
    assert other == state[1]


def test_a_state_of_another_form_is_refused() -> None:
    form = state_form(running("constant"), 1, CONTEXT)
    for other in ((torch.zeros(1, 8), 8), (torch.zeros(1, 9), 7)):
        with pytest.raises(Unsupported, match="its size or a constant"):
            form.to_tensors(other)
    with pytest.raises(Unsupported, match="changes its form"):
        form.to_tensors([torch.zeros(1, 8), 7])


@pytest.mark.parametrize(
    ("kept", "reason"),
    [("text", "holds a str"), ("object", "holds a object"), ("inputs", "grows with each token")],
)
def test_a_state_that_no_step_can_take_has_no_form(kept: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        state_form(running(kept), 1, CONTEXT)


# --- products of one row --------------------------------------------------------------------------


@torch.no_grad()
def test_products_of_one_row_are_those_of_torch() -> None:
    torch.manual_seed(0)
    row, matrix, bias = torch.randn(1, 20), torch.randn(20, 12), torch.randn(12)
    torch.testing.assert_close(export.row_product(row, matrix), row @ matrix)
    with_bias = export.row_product_with_bias(bias, row, matrix)
    torch.testing.assert_close(with_bias, torch.addmm(bias, row, matrix))
    assert export.row_product(torch.randn(2, 20), matrix) is NotImplemented
    assert export.row_product_with_bias(bias, row, matrix, beta=2) is NotImplemented


@pytest.mark.parametrize(("groups", "dilation"), [(1, 1), (1, 4), (2, 3), (8, 1)])
def test_a_convolution_of_one_place_is_that_of_torch(groups: int, dilation: int) -> None:
    layer = torch.nn.Conv1d(8, 16, 3, dilation=dilation, groups=groups)
    x = torch.randn(1, 8, 2 * dilation + 1)
    options = [1], [0], [dilation], False, [0], groups
    mixed = export.one_place_convolution(x, layer.weight, layer.bias, *options)
    torch.testing.assert_close(mixed, layer(x))
    longer = torch.randn(1, 8, 2 * dilation + 2)
    assert export.one_place_convolution(longer, layer.weight, None, *options) is NotImplemented


# --- what falls back, and why ---------------------------------------------------------------------


def test_a_machine_without_what_compiling_needs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in compiler.missing_compiler()
    with pytest.raises(Unsupported, match="no-such-compiler"):
        compiled_step(make(GPT), GPT)
    with pytest.raises(Unsupported, match="not for cuda"):
        check_machine(torch.device("cuda"))
    with pytest.raises(Unsupported, match="not in bfloat16"):
        check_machine(torch.device("cpu"), torch.bfloat16)


@needs_compiler
def test_control_flow_on_values_cannot_be_exported() -> None:
    with pytest.raises(Unsupported, match=r"cannot be exported: .*data-dependent"):
        export.export_step(running("branch"), 1)


def test_an_exported_step_is_the_model_at_every_position() -> None:
    """The position is a size of the graph, no constant of it; products of one row are sums."""
    model = make(GPT)
    program = export.export_step(model, 1)
    assert not any("mm" in str(node.target) for node in program.graph.nodes)
    step, form = program.module(), state_form(model, 1, CONTEXT + 1)
    tokens = torch.randint(VOCABULARY, (1, CONTEXT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        eager, other = (model(tokens[:, :2], model.init_state(1, CONTEXT + 1))[1] for _ in range(2))
        tensors = form.to_tensors(other)
        for place in range(2, CONTEXT):
            expected, eager = model(tokens[:, place : place + 1], eager)
            logits, *tensors = step(tokens[:, place : place + 1], *tensors)
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert tensors[form.counters[0]].shape == (CONTEXT, 0)


class Wrong:
    """A step whose logits are off by a share of the largest."""

    def __init__(self, model: LanguageModel, share: float) -> None:
        self.model, self.rows, self.room, self.share = model, 1, CONTEXT + 1, share

    def __call__(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = self.model(token, state)
        return logits + self.share * logits.abs().max(), state


@pytest.mark.parametrize("share", [1e-2, float("nan")])
def test_a_step_that_disagrees_is_not_used(share: float) -> None:
    with pytest.raises(Unsupported, match="differs"):
        compiled.check_equal(Wrong(make(GPT), share))  # type: ignore[arg-type]
    compiled.check_equal(Wrong(make(GPT), 1e-6))  # type: ignore[arg-type]


# --- the cache ------------------------------------------------------------------------------------


def test_a_step_is_built_once_for_what_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def export_nothing(model: LanguageModel, rows: int) -> Any:
        return type("Program", (), {"constants": {}})

    def compile_nothing(program: Any, path: Path) -> None:
        path.write_bytes(b"code")
        built.append(path.parent)

    monkeypatch.setattr(compiled, "export_step", export_nothing)
    monkeypatch.setattr(compiled, "compile_step", compile_nothing)
    monkeypatch.setenv(compiler.CACHE_VARIABLE, "")  # given back at the end
    model, root = make(GPT), str(tmp_path)
    for _ in range(2):
        folder = compiled._build(model, GPT, 1, root)
    assert built == [folder]
    (folder / compiled.PACKAGE).write_bytes(b"other")
    assert compiled._build(model, GPT, 1, root) == folder
    assert built == [folder, folder]  # damaged, built again
    compiled._build(model, GPT, 8, root)
    compiled._build(model, GPT | {"heads": 1}, 1, root)
    compiled._build(make(GPT, width=16), GPT, 1, root)
    monkeypatch.setattr(torch, "__version__", "3.0")
    compiled._build(model, GPT, 1, root)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "other")
    compiled._build(model, GPT, 1, root)
    assert len(set(built)) == 6


def test_a_cache_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unsupported, match="cannot be written"):
        compiled_step(make(GPT), GPT, root=str(tmp_path / "file" / "cache"))


# --- with a compiler ------------------------------------------------------------------------------


def greedy(step: Any, model: LanguageModel, room: int) -> list[int]:
    """The likeliest tokens from two tokens on to the end of the context."""
    with torch.no_grad():
        logits, state = model(torch.tensor([[1, 2]]), model.init_state(1, room))
        tokens = [logits[:, -1:].argmax(-1)]
        for _ in range(CONTEXT - 2):
            logits, state = step(tokens[-1], state)
            tokens.append(logits.argmax(-1))
    return torch.cat(tokens).flatten().tolist()


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("path", each_architecture())
def test_every_causal_architecture_decodes_compiled_or_says_why_not(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compiler.CACHE_VARIABLE, str(tmp_path / "inductor"))
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    model = make(arch, width=32)
    if not model.backbone.causal:
        with pytest.raises(Unsupported, match="encoder"):
            compiled_step(model, arch, root=str(tmp_path))
        return
    if path.stem in EAGER_ONLY:
        with pytest.raises(Unsupported, match=EAGER_ONLY[path.stem]):
            compiled_step(model, arch, root=str(tmp_path))
        return
    step = compiled_step(model, arch, root=str(tmp_path))
    assert greedy(step, model, step.room) == greedy(model, model, step.room)
    with torch.no_grad():  # the weights are the model's own
        model.embedding.weight.mul_(-1)
    compiled.check_equal(step)
    if step.counters:
        tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
        with torch.no_grad(), pytest.raises(ValueError, match=f"room for {CONTEXT} tokens"):
            step(tokens[:, :1], model(tokens, model.init_state(1, step.room))[1])
