"""The whole contract on every architecture of conf/arch, and on fake architectures that break it one promise at a time."""

from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from bench.contract import CHECKS, Check, ModelUnderTest, check_before_training, run_check
from bench.contract.probes import random_input, seeded_output
from bench.model import ModelBuildError
from tests.conftest import each_architecture


@cache
def sound(path: Path) -> ModelUnderTest:
    """An architecture of conf/arch; its width is solved once for all its checks.

    Two layers show what more would: the first reads the embedding, the second a layer. Where layers differ, all of them stay.
    """
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    alike = "layers" in arch and not {"pattern", "every", "layer_types"} & {
        *arch,
        *arch.get("settings", {}),
    }
    return ModelUnderTest(arch | ({"layers": min(arch["layers"], 2)} if alike else {}))


@cache
def fake(name: str) -> ModelUnderTest:
    return ModelUnderTest({"_target_": f"tests.fake_architectures.{name}"})


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize("path", each_architecture())
def test_promise_holds(path: Path, check: Check) -> None:
    finding = run_check(check, sound(path))
    assert finding.status != "broken", finding.sentence()


@pytest.mark.parametrize("path", each_architecture())
def test_a_sound_architecture_may_train_and_is_left_as_it_was(path: Path) -> None:
    model = sound(path).build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_before_training(model)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_sound_double_keeps_the_contract(check: Check) -> None:
    finding = run_check(check, fake("Valid"))
    assert finding.status == "holds", finding.sentence()


BROKEN = [  # the double, the promise that it breaks, and words of the reason
    ("LooksAhead", "causality", "looks ahead while it says causal"),
    ("LooksAheadFar", "causality", "another token at position 15"),
    ("LooksAheadBehindANorm", "causality", "another token at position 1"),
    ("LooksAheadAcrossChunks", "causality", "other tokens from position 64 on"),
    ("OnlyClaimsBothWays", "causality", "the last token moves nothing"),
    ("WrongShape", "output", "wrong shape: (2, 15,"),
    ("WrongType", "output", "wrong dtype: torch.float64"),
    ("NotFinite", "output", "not finite"),
    ("NoPair", "output", "not a pair"),
    ("Raises", "output", "not written yet"),
    ("MixesRows", "rows", "mixes rows"),
    ("HoldsLayersInAList", "parameters", "numbers outside its parameters"),
    ("LosesGradients", "gradients", "backbone.convolution.weight"),
    ("LooksAtPadding", "padding", "looks at padding"),
    ("ForgetsItsState", "pieces", "does not continue"),
    ("ForgetsAcrossChunks", "pieces", "40 + 1 + 30 + 9 + 80"),
    ("ReturnsNoState", "pieces", "returned none"),
    ("RefusesWithoutAReason", "pieces", "without saying why"),
    ("GrowsItsState", "pieces", "changed its size"),
    ("DrawsOutside", "repeatable", "outside the given seed"),
    ("DrawsOutside", "causality", "outside the given seed"),
    ("DrawsInEvaluation", "repeatable", "outside training"),
    ("HidesWeights", "storable", "not saved"),
    ("KeepsItsWeights", "storable", "not renewed"),
    ("CannotBeSaved", "storable", "weights_only"),
    ("GrowsInForward", "budget", "exceeds its budget"),
    ("Understates", "flops", "were counted"),
    ("CannotLearn", "memory", "does not learn"),
    ("StaysInPython", "tracing", "not one operation"),
    ("DoesNotTrace", "tracing", "traced by torch.compile its outputs"),
]


@pytest.mark.parametrize(
    ("name", "promise", "words"), BROKEN, ids=["-".join(row[:2]) for row in BROKEN]
)
def test_broken_promise_is_caught_by_name_and_reason(name: str, promise: str, words: str) -> None:
    check = next(check for check in CHECKS if check.name == promise)
    finding = run_check(check, fake(name))
    assert finding.status == "broken", finding.sentence()
    assert words in finding.observed
    assert finding.sentence().startswith(
        f"{promise}: {check.done}; expected: {check.expected}; came: "
    )
    assert finding.sentence().endswith(f"to mend it: {check.fix}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LooksAhead", "looks ahead while it says causal"),
        ("LooksAheadFar", "looks ahead while it says causal"),
        ("WrongShape", "wrong shape"),
        ("WrongType", "wrong dtype"),
        ("NotFinite", "not finite"),
        ("Raises", "RuntimeError: not written yet"),
    ],
)
def test_refused_before_training(name: str, words: str) -> None:
    with pytest.raises(ModelBuildError, match=f"^{name}: .*{words}"):
        check_before_training(fake(name).build())


def test_rounding_alone_is_no_look_ahead() -> None:
    """A Fourier transform mixes the roundings of all positions; in float64 that is told from a leak."""
    subject = fake("ByFourier")
    finding = run_check(next(check for check in CHECKS if check.name == "causality"), subject)
    assert finding.status == "holds", finding.sentence()


def test_graphs_are_counted() -> None:
    tracing = next(check for check in CHECKS if check.name == "tracing")
    assert run_check(tracing, fake("Valid")).observed.startswith("traced in 1 graph,")
    assert run_check(tracing, fake("BranchesOnValues")).observed.startswith("traced in 2 graphs,")


def test_a_constant_probe_would_miss_what_a_random_one_finds() -> None:
    """Why inputs are changed at random: a constant that is added to a token hides behind a norm."""
    model = fake("LooksAheadBehindANorm").build()
    x = random_input(model, 16)
    moved = []
    for change in (torch.ones(2, model.backbone.width), random_input(model, 1, seed=1)[:, 0]):
        changed = x.clone()
        changed[:, 9] += change
        with torch.no_grad():
            moved.append(
                (seeded_output(model.backbone, changed) - seeded_output(model.backbone, x))[:, :9]
                .abs()
                .max()
                .item()
            )
    assert moved[0] < 1e-6
    assert moved[1] > 1e-2


def test_a_subject_is_as_large_as_its_smallest_width_needs() -> None:
    assert fake("Valid").parameters == 20_000
    assert fake("OnlySixtyFour").width == 64
    assert fake("OnlySixtyFour").parameters > 64 * 64 * 19
