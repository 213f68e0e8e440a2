"""The model around an architecture: tied head, the row of <mask>, initial values, width."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.config.errors import UserError
from bench.config.schema import constructor_options
from bench.model import (
    LanguageModel,
    ModelBuildError,
    backbone_class,
    build_model,
    count_parameters,
    is_offered_width,
    solve_width,
)
from tests.conftest import OWN, REPRESENTATIVES, each_architecture
from tests.fake_architectures import OnlySixtyFour, Valid

VALID = {"_target_": "tests.fake_architectures.Valid"}


def double(name: str, **options: Any) -> dict[str, Any]:
    return {"_target_": f"tests.fake_architectures.{name}", **options}


def model(vocabulary: int = 7, width: int = 8) -> LanguageModel:
    return build_model(VALID, width, 16, vocabulary, seed=0)


def size(arch: dict[str, Any], width: int) -> int:
    """All parameters at a width, allocating none."""
    with torch.device("meta"):
        return count_parameters(
            LanguageModel(backbone_class(arch)(width, 64, **constructor_options(arch)), 67)
        )["parameters"]


# --- the parts ------------------------------------------------------------------------------------


def test_mask_is_read_and_never_predicted() -> None:
    made = model()
    assert made.mask == 7
    assert made.embedding.weight.shape == (8, 8)
    assert made(torch.tensor([[1, made.mask, 2]]))[0].shape == (1, 3, 7)


def test_head_is_tied_to_the_embedding() -> None:
    made, tokens = model(), torch.tensor([[1, 2, 3]])
    hidden, _ = made.hidden(tokens)
    torch.testing.assert_close(made.head(hidden), hidden @ made.embedding.weight[:7].T)
    torch.testing.assert_close(made(tokens)[0], made.head(hidden))
    assert not [name for name, _ in made.named_parameters() if "head" in name]


def test_the_final_norm_is_there_once() -> None:
    made, tokens = model(), torch.tensor([[1, 2, 3]])
    hidden, _ = made.hidden(tokens)
    torch.testing.assert_close(hidden.pow(2).mean(-1), torch.ones(1, 3), rtol=1e-2, atol=1e-2)


def test_state_goes_through() -> None:
    made, tokens = model().eval(), torch.tensor([[1, 2, 3, 4]])
    first, state = made(tokens[:, :3], made.init_state(1, 4))
    second, state = made(tokens[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), made(tokens)[0])
    assert made(tokens)[1] is None


def test_counts_three_ways() -> None:
    arch = {"_target_": "architectures.gpt.GPT", "layers": 1, "heads": 2}
    counted = count_parameters(build_model(arch, 8, 16, 7, 0))
    biases, norms, matrices = 3 * 8 + 8 + 4 * 8 + 8, 2 * 2 * 8 + 8, 12 * 64
    assert counted["parameters_without_embedding"] == biases + norms + matrices
    assert counted["parameters"] == biases + norms + matrices + (7 + 1) * 8 + 16 * 8
    assert counted["parameters_in_products"] == matrices + 7 * 8


def test_flops_hold_the_head() -> None:
    made = model()
    assert made.flops(16) == made.backbone.flops(16) + 2 * 8 * 7


# --- initial values -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", each_architecture())
def test_the_seed_alone_decides_initial_values(path: Path) -> None:
    arch = yaml.safe_load(path.read_text())
    torch.manual_seed(1)
    first = build_model(arch, 16, 16, 7, seed=3).state_dict()
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    second = build_model(arch, 16, 16, 7, seed=3).state_dict()
    assert torch.equal(torch.rand(1), expected), "building draws from nobody else's numbers"
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_model(arch, 16, 16, 7, seed=4).state_dict()
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


# --- width ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [20_000, 800_000, 12_000_000])
@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_width_is_the_largest_under_the_budget(path: Path, parameters: int) -> None:
    arch = yaml.safe_load(path.read_text())
    width = solve_width(arch, parameters, 64, 67)
    wider = next(w for w in range(width + 1, width + 99) if is_offered_width(w))
    assert size(arch, width) <= parameters < size(arch, wider)
    if parameters >= 800_000:  # below, one width is too far from the next
        assert size(arch, width) >= (0.97 if parameters == 800_000 else 0.9) * parameters


def test_width_keeps_to_what_the_architecture_accepts() -> None:
    arch = double("OnlySixtyFour")
    assert solve_width(arch, 500_000, 16, 7) == 192
    with torch.device("meta"):
        assert count_parameters(LanguageModel(OnlySixtyFour(256, 16), 7))["parameters"] > 500_000


@pytest.mark.parametrize(
    ("arch", "budget", "words"),
    [
        (VALID, 10, ["size.parameters=10", "Valid", "width, 1,"]),
        (double("OnlySixtyFour"), 1000, ["OnlySixtyFour", "width, 64,"]),
        (double("NoWidth"), 100_000, ["NoWidth", "I accept none"]),
    ],
)
def test_a_budget_that_no_width_fits_is_explained(
    arch: dict[str, Any], budget: int, words: list[str]
) -> None:
    with pytest.raises(ModelBuildError) as error:
        solve_width(arch, budget, 16, 7)
    assert error.value.code == "no-width"
    assert all(word in str(error.value) for word in words)


def test_a_constructor_that_raises_is_one_line() -> None:
    for build in (
        lambda: solve_width(double("NoNumbers"), 100_000, 16, 7),
        lambda: build_model(double("NoNumbers"), 8, 16, 7, 0),
    ):
        with pytest.raises(ModelBuildError, match="RuntimeError: where is my file") as error:
            build()
        assert error.value.code == "invalid-architecture"


# --- options --------------------------------------------------------------------------------------

RNN = {"_target_": "architectures.rnn.RNN"}


@pytest.mark.parametrize(
    ("arch", "code", "words"),
    [
        (RNN | {"layer": 3}, "unknown-key", "arch.layer .*layers"),
        (RNN | {"layers": "many"}, "invalid-value", "arch.layers=many"),
        (RNN | {"layers": 2.5}, "invalid-value", "arch.layers=2.5"),
        (RNN | {"layers": True}, "invalid-value", "arch.layers=True"),
        (RNN | {"dropout": "much"}, "invalid-value", "arch.dropout=much"),
        (RNN | {"cell": "lstn"}, "unknown-choice", "arch.cell=lstn .*lstm"),
        (RNN | {"width": 128}, "conflicting-values", "arch.width"),
        (double("Valid", kernels=3), "unknown-key", "kernel"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(list(value)[-1]),
)
def test_a_wrong_option_is_a_user_error(arch: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        backbone_class(arch)
    assert error.value.code == code
    assert not isinstance(error.value, ModelBuildError)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.Model", "ModuleNotFoundError: No module named 'nowhere'"),
        ("tests.fake_architectures.Missing", "AttributeError"),
        ("Lonely", "Lonely"),
        ("tests.fake_architectures.NoBackbone", "architectures.interface.Backbone"),
        ("tests.fake_architectures.torch", "architectures.interface.Backbone"),
    ],
)
def test_a_class_that_cannot_be_used_fails_its_own_run(target: str, words: str) -> None:
    with pytest.raises(ModelBuildError, match=words) as error:
        backbone_class({"_target_": target})
    assert error.value.code == "invalid-architecture"


def test_reserved_keys_are_no_options() -> None:
    arch = VALID | {
        "family": "convolution",
        "card": {"summary": "", "paper": ""},
        "tune": {"learning_rate": 1e-3},
        "kernel": 2,
    }
    assert backbone_class(arch) is Valid
    assert build_model(arch, 8, 16, 7, 0).backbone.kernel == 2


@pytest.mark.parametrize("path", each_architecture(REPRESENTATIVES))
def test_half_precision_trains_and_decodes_without_a_warning(path: Path) -> None:
    arch = yaml.safe_load(path.read_text())
    made, tokens = (
        build_model(arch, 32, 16, 7, 0),
        torch.randint(7, (2, 16), generator=torch.Generator().manual_seed(0)),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole, _ = made(tokens)
        whole.float().logsumexp(-1).sum().backward()
        if not made.backbone.causal:
            return
        state, parts = made.init_state(2, 16), []
        with torch.no_grad():
            for piece in tokens.split((5, 1, 10), dim=1):
                logits, state = made(piece, state)
                parts.append(logits)
    with torch.no_grad():
        exact, _ = made(tokens)
    rounding = (
        (whole.detach().float() - exact).abs().max()
    )  # a norm over what is nearly nothing makes it larger for some
    assert rounding < 0.05, "half precision is near float32"
    torch.testing.assert_close(
        torch.cat(parts, dim=1).float(), exact, rtol=0, atol=1.5 * rounding.item() + 1e-3
    )
