"""Families of transformers as architectures: what comes out is theirs, and what they can not do is said in one line."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from architectures.gpt import GPT
from architectures.huggingface import HuggingFace, held_bytes
from architectures.interface import Unsupported
from bench import model
from bench.cli import compose
from bench.config.schema import constructor_options
from bench.model.contract import CHECKS, ModelUnderTest, run_check
from tests.conftest import WRAPPED, Command

WIDTH, CONTEXT = 32, 16


@cache
def made(name: str) -> HuggingFace:
    """A family's backbone in the middle of a model, as its YAML says."""
    path = next(path for path in WRAPPED if path.stem == name)
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    backbone = model.build_model(arch, WIDTH, CONTEXT, 5, seed=0).backbone.eval()
    assert isinstance(backbone, HuggingFace)
    return backbone


def noise(length: int = CONTEXT, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [path.stem for path in WRAPPED[1:]])
def test_parity_with_the_whole_model_before_its_final_norm(name: str) -> None:
    ours, seen = made(name), list[Tensor]()
    theirs = ours.family.build_full(WIDTH, CONTEXT).eval()
    missing = theirs.load_state_dict(ours.model.state_dict(), strict=False).missing_keys
    assert {key.rpartition(".")[2] for key in missing} <= {"weight", "bias"}
    assert {theirs.get_submodule(key.rpartition(".")[0]) for key in missing} == {
        theirs.get_input_embeddings(),
        theirs.get_submodule(ours.shape.final_norm),
    }
    theirs.get_submodule(ours.shape.final_norm).register_forward_pre_hook(
        lambda _, given: seen.append(given[0])
    )
    with torch.no_grad():
        theirs(inputs_embeds=noise(), use_cache=False)
        torch.testing.assert_close(
            ours(noise())[0], seen[0].view(2, CONTEXT, WIDTH), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", [path.stem for path in WRAPPED[1:]])
def test_a_full_cache_has_the_bytes_that_were_said(name: str) -> None:
    backbone = made(name)
    state = backbone.init_state(2, CONTEXT, noise())
    said = backbone.state_bytes(state)
    with torch.no_grad():
        for piece in noise().split((9, 1, 6), dim=1):
            _, state = backbone(piece, state)
    assert held_bytes(state.cache) == said > 0


def test_gpt2_has_the_size_and_the_cost_of_our_own() -> None:
    theirs, ours = made("huggingface_gpt2"), GPT(WIDTH, CONTEXT)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    assert theirs.flops(CONTEXT) == ours.flops(CONTEXT)
    assert theirs.flops(CONTEXT, full_mask=True) == ours.flops(CONTEXT, full_mask=True)


def test_initial_values_follow_the_rule_and_the_family_where_the_rule_says_nothing() -> None:
    gpt2, mamba2 = made("huggingface_gpt2").model, made("huggingface_mamba2").model
    for weight, inputs in (
        (gpt2.h[0].mlp.c_fc.weight, WIDTH),
        (gpt2.h[0].mlp.c_proj.weight, 4 * WIDTH),
    ):  # (inputs, outputs)
        assert weight.std().item() == pytest.approx(0.5 / inputs**0.5, rel=0.1)
    assert mamba2.layers[0].mixer.A_log.exp().tolist() == pytest.approx([1, 2, 3, 4])
    assert bool((mamba2.layers[0].mixer.dt_bias != 0).all())


def test_the_same_run_under_two_names_is_run_once() -> None:
    trees = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in WRAPPED[:2]]
    assert [path.stem for path in WRAPPED[:2]] == ["huggingface", "huggingface_gpt2"]
    options = constructor_options(trees[0])
    assert options.pop("pretrained") == ""  # the default is no part of what a run is
    assert options == constructor_options(trees[1])
    asked = compose.compose_sweep(["-m", "arch=huggingface,huggingface_gpt2", "seed=0,1"])
    assert [(run.names["arch"], run.seed) for run in asked.runs] == [
        ("huggingface", 0),
        ("huggingface", 1),
    ]
    assert [name.partition("-")[0] for name in asked.duplicates] == 2 * ["huggingface_gpt2"]


@pytest.mark.slow
def test_the_command_trains_what_has_two_names_once(
    run_command: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = run_command("arch=huggingface,huggingface_gpt2", "-m", *tiny)
    assert done.returncode == 0, done.stderr
    assert "under another name" in done.stderr
    assert len(list((tmp_path / "results/single/runs").glob("huggingface*"))) == 1


# --- other families -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["output", "causality", "padding", "pieces", "flops"])
def test_an_encoder_keeps_the_contract(name: str) -> None:
    subject = ModelUnderTest(
        {"_target_": "architectures.huggingface.HuggingFace", "model_type": "bert", "layers": 2}
    )
    assert not subject.build().backbone.causal
    finding = run_check(next(check for check in CHECKS if check.name == name), subject)
    assert finding.status == ("skipped" if name == "pieces" else "passed"), finding.sentence()


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize("family", ["modernbert", "mistral", "gpt_neox", "qwen3"])
def test_families_without_a_yaml_keep_the_contract(family: str, check: Any) -> None:
    finding = run_check(
        check,
        ModelUnderTest({"_target_": "architectures.huggingface.HuggingFace", "model_type": family}),
    )
    assert finding.status != "failed", finding.sentence()


def test_a_cache_of_single_tokens_is_fed_one_by_one() -> None:
    backbone = HuggingFace(WIDTH, CONTEXT, "mamba", layers=1, cache="tokens").eval()
    lengths = list[int]()
    backbone.model.register_forward_pre_hook(
        lambda _, given, named: lengths.append(named["inputs_embeds"].shape[1]), with_kwargs=True
    )
    with torch.no_grad():
        state = backbone.init_state(2, CONTEXT, noise())
        lengths.clear()
        parts = []
        for piece in noise().split((9, 1, 6), dim=1):
            mixed, state = backbone(piece, state)
            parts.append(mixed)
        assert lengths == [9, 1, *6 * [1]]
        torch.testing.assert_close(torch.cat(parts, dim=1), backbone(noise())[0], rtol=0, atol=1e-5)


def test_a_cache_that_forgets_is_refused_with_what_to_do() -> None:
    backbone = HuggingFace(WIDTH, CONTEXT, "gpt2", layers=1).eval()
    backbone.cache_name = (
        "cache_position"  # goes nowhere: the family then begins anew with every piece
    )
    forward = backbone.model.forward
    backbone.model.forward = lambda inputs_embeds, **_: {
        0: forward(inputs_embeds=inputs_embeds)[0],
        "cache_position": None,
    }
    with pytest.raises(
        Unsupported,
        match=r"gpt2 .*off by 1.* arch.cache=tokens or none",
    ):
        backbone.init_state(1, 8, noise())
    with pytest.raises(Unsupported, match="the cache of gpt2"):
        HuggingFace(WIDTH, CONTEXT, "gpt2", layers=1, cache="none").init_state(1, 8, noise())


def test_reading_beyond_positions_or_room_is_explained() -> None:
    with pytest.raises(ValueError, match=r"context of 16 tokens, .* token 17"):
        made("huggingface_gpt2")(noise(17))
    llama = made("huggingface_llama")
    with pytest.raises(ValueError, match="room for 5 tokens, and token 6"):
        llama(noise(6), llama.init_state(2, 5, noise()))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "lama"}, "model_type=lama .*llama"),
    ({"model_type": "t5"}, "model_type=t5"),
    ({"model_type": "vit"}, "vit .*inputs_embeds"),
    (
        {"model_type": "opt"},
        "2.5 times .*arch.multiples .*ffn_dim",
    ),
    ({"settings": {"n_iner": 64}}, "n_iner .*n_inner"),
]


@pytest.mark.parametrize(
    ("given", "words"), REFUSED, ids=["unknown", "two-stacks", "pictures", "sizes", "key"]
)
def test_what_cannot_be_built_is_explained(given: dict[str, Any], words: str) -> None:
    with pytest.raises(model.ModelBuildError, match=words):
        model.solve_width(
            {"_target_": "architectures.huggingface.HuggingFace", **given}, 100_000, CONTEXT, 11
        )


def test_sizes_that_follow_the_width_by_a_multiple_are_accepted() -> None:
    backbone = HuggingFace(WIDTH, CONTEXT, "opt", layers=1, multiples={"ffn_dim": 4.0})
    assert backbone.model.config.ffn_dim == 4 * WIDTH


def test_without_the_package_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("architectures.huggingface")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        model.ModelBuildError,
        match=r"cannot be imported: .*pip install 'architecture-bench\[huggingface\]'",
    ):
        model.backbone_class({"_target_": "architectures.huggingface.HuggingFace"})
