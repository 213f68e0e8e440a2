"""The model around an architecture: tied head, the row of <mask>, initial values, width for a budget, and its refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.config.errors import UserError
from bench.config.schema import constructor_options
from bench.model.language_model import LanguageModel, ModelBuildError, backbone_class, build_model
from bench.model.sizing import count_parameters, is_offered_width, solve_width
from tests.conftest import OWN, each_architecture
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


# --- the parts --------------------------------------------------------------------------------------------------------


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


# --- initial values ---------------------------------------------------------------------------------------------------


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


# --- width ------------------------------------------------------------------------------------------------------------


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


def test_too_small_a_budget_says_the_smallest() -> None:
    with pytest.raises(
        ModelBuildError,
        match=r"size.parameters=10 is too small for Valid: its smallest, width 1, has \d+",
    ):
        solve_width(VALID, 10, 16, 7)
    with pytest.raises(
        ModelBuildError, match=r"too small for OnlySixtyFour: its smallest, width 64, has"
    ):
        solve_width(double("OnlySixtyFour"), 1000, 16, 7)


def test_no_width_at_all_says_why() -> None:
    with pytest.raises(ModelBuildError, match="NoWidth accepts no width up to 1024: I accept none"):
        solve_width(double("NoWidth"), 100_000, 16, 7)


def test_a_constructor_that_raises_is_one_line() -> None:
    with pytest.raises(
        ModelBuildError,
        match=r"NoNumbers with width \d+ was not made: RuntimeError: where is my file",
    ):
        solve_width(double("NoNumbers"), 100_000, 16, 7)
    with pytest.raises(ModelBuildError, match="NoNumbers with width 8 was not made"):
        build_model(double("NoNumbers"), 8, 16, 7, 0)


# --- options ----------------------------------------------------------------------------------------------------------

RNN = {"_target_": "architectures.rnn.RNN"}


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        (RNN | {"layer": 3}, "arch.layer is no option of RNN; did you mean layers"),
        (RNN | {"layers": "many"}, "arch.layers=many must be a whole number"),
        (RNN | {"layers": 2.5}, "arch.layers=2.5 must be a whole number"),
        (RNN | {"layers": True}, "arch.layers=True must be a whole number"),
        (RNN | {"dropout": "much"}, "arch.dropout=much must be a number"),
        (RNN | {"cell": "lstn"}, "arch.cell=lstn is not known; did you mean lstm"),
        (RNN | {"width": 128}, "arch.width is solved and given by the harness"),
        (double("Valid", kernels=3), "did you mean kernel"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(list(value)[-1]),
)
def test_a_wrong_option_is_a_mistake_in_one_line(arch: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        backbone_class(arch)
    assert not isinstance(caught.value, ModelBuildError)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "nowhere.Model",
            "nowhere.Model does not import: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("tests.fake_architectures.Missing", "does not import: AttributeError"),
        ("Lonely", "Lonely names no module"),
        ("tests.fake_architectures.NoBackbone", "is no architectures.interface.Backbone"),
        ("tests.fake_architectures.torch", "is no architectures.interface.Backbone"),
    ],
)
def test_a_class_that_cannot_be_had_fails_its_cell(target: str, words: str) -> None:
    with pytest.raises(ModelBuildError, match=words):
        backbone_class({"_target_": target})


def test_reserved_keys_are_no_options() -> None:
    arch = VALID | {
        "family": "convolution",
        "card": {"summary": "", "paper": ""},
        "tune": {"learning_rate": 1e-3},
        "kernel": 2,
    }
    assert backbone_class(arch) is Valid
    assert build_model(arch, 8, 16, 7, 0).backbone.kernel == 2


@pytest.mark.parametrize("path", each_architecture())
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
