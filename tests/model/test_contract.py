"""The contract on every architecture of conf/arch, and on fakes that break one check each."""

from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from bench.model import ModelBuildError
from bench.model.contract import (
    CHECKS,
    Check,
    ModelUnderTest,
    check_before_training,
    check_decode,
    check_prefill,
    run_check,
)
from bench.model.contract.probes import CheckFailed, random_input, seeded_output
from tests.conftest import REPRESENTATIVES, each_architecture

BY_NAME = {check.name: check for check in CHECKS}
DEAR = ("budget", "causality", "memory", "tracing")  # quick for one architecture of each family


@cache
def project_model(path: Path) -> ModelUnderTest:
    """Return an architecture of conf/arch, with two layers where all layers are alike.

    The first reads the embedding, the second a layer: more would show nothing else.
    """
    arch = yaml.safe_load(path.read_text(encoding="utf-8"))
    keys = {*arch, *arch.get("settings", {})}
    alike = "layers" in arch and not {"pattern", "every", "layer_types"} & keys
    return ModelUnderTest(arch | ({"layers": min(arch["layers"], 2)} if alike else {}))


@cache
def fake(name: str) -> ModelUnderTest:
    return ModelUnderTest({"_target_": f"tests.fake_architectures.{name}"})


@pytest.mark.parametrize(
    ("path", "check"),
    [
        pytest.param(*each.values, check, id=f"{each.id}-{check}", marks=each.marks)
        for check in CHECKS
        for each in each_architecture(REPRESENTATIVES if check.name in DEAR else ())
    ],
)
def test_every_architecture_passes(path: Path, check: Check) -> None:
    result = run_check(check, project_model(path))
    assert result.status != "failed", result.sentence()


@pytest.mark.parametrize("path", each_architecture())
def test_the_check_before_training_changes_nothing(path: Path) -> None:
    model = project_model(path).build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_before_training(model)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_a_valid_fake_passes(check: Check) -> None:
    result = run_check(check, fake("Valid"))
    assert result.status == "passed", result.sentence()


FAILURES = [  # the fake, the check that fails, its reason code, a value in its message
    ("LooksAhead", "causality", "looks-ahead", "position 15 on changed the output at position 14 "),
    ("LooksAheadFar", "causality", "looks-ahead", "changed the output at position 0 "),
    (
        "LooksAheadBehindANorm",
        "causality",
        "looks-ahead",
        "position 15 on changed the output at position 14 ",
    ),
    (
        "LooksAheadAcrossChunks",
        "causality",
        "looks-ahead",
        "position 64 on changed the output at position 63 ",
    ),
    ("OnlyClaimsBothWays", "causality", "not-bidirectional", ""),
    ("WrongShape", "output", "wrong-shape", "(2, 15,"),
    ("WrongType", "output", "wrong-dtype", "torch.float64"),
    ("NotFinite", "output", "not-finite", ""),
    ("NoPair", "output", "wrong-type", "Tensor"),
    ("Raises", "output", "raised", "RuntimeError: not written yet"),
    ("MixesRows", "rows", "mixes-rows", ""),
    ("HoldsLayersInAList", "parameters", "unregistered-parameters", ""),
    ("LosesGradients", "gradients", "no-gradient", "backbone.convolution.weight"),
    ("LooksAtPadding", "padding", "reads-padding", ""),
    ("ForgetsItsState", "pieces", "state-diverges", "5 + 1 + 1 + 3 + 2"),
    ("ForgetsAcrossChunks", "pieces", "state-diverges", "40 + 1 + 30 + 9 + 80"),
    ("ReturnsNoState", "pieces", "no-state", ""),
    ("RefusesWithoutAReason", "pieces", "no-reason", ""),
    ("GrowsItsState", "pieces", "state-size", ""),
    ("DrawsOutside", "repeatable", "unseeded-randomness", ""),
    ("DrawsOutside", "causality", "unseeded-randomness", ""),
    ("DrawsInEvaluation", "repeatable", "evaluation-randomness", ""),
    ("HidesWeights", "storable", "not-saved", ""),
    ("KeepsItsWeights", "storable", "not-saved", ""),
    ("CannotBeSaved", "storable", "raised", "weights_only"),
    ("GrowsInForward", "budget", "over-budget", ""),
    ("Understates", "flops", "wrong-flops", ""),
    ("CannotLearn", "memory", "does-not-learn", ""),
    ("StaysInPython", "tracing", "not-traceable", ""),
    ("DoesNotTrace", "tracing", "traced-differently", ""),
]


@pytest.mark.parametrize(
    ("name", "check", "code", "detail"), FAILURES, ids=["-".join(row[:2]) for row in FAILURES]
)
def test_a_failure_has_its_reason(name: str, check: str, code: str, detail: str) -> None:
    result = run_check(BY_NAME[check], fake(name))
    assert (result.status, result.code) == ("failed", code), result.sentence()
    assert detail in result.observed
    for part in (check, BY_NAME[check].action, BY_NAME[check].expected, BY_NAME[check].fix):
        assert part in result.sentence()


@pytest.mark.parametrize(
    "name", ["LooksAhead", "LooksAheadFar", "WrongShape", "WrongType", "NotFinite", "Raises"]
)
def test_a_malformed_model_is_not_trained(name: str) -> None:
    with pytest.raises(ModelBuildError, match=f"^{name}: "):
        check_before_training(fake(name).build())


def test_rounding_is_not_taken_for_looking_ahead() -> None:
    """A Fourier transform mixes the rounding of all positions; float64 tells it from a leak."""
    result = run_check(BY_NAME["causality"], fake("ByFourier"))
    assert result.status == "passed", result.sentence()


def test_graphs_are_counted() -> None:
    assert "1 graph," in run_check(BY_NAME["tracing"], fake("Valid")).observed
    assert "2 graphs," in run_check(BY_NAME["tracing"], fake("BranchesOnValues")).observed


def test_a_constant_change_would_miss_what_a_random_one_finds() -> None:
    """Inputs are changed at random because a norm hides a constant."""
    model = fake("LooksAheadBehindANorm").build()
    x = random_input(model, 16)
    moved = []
    for change in (torch.ones(2, model.backbone.width), random_input(model, 1, seed=1)[:, 0]):
        changed = x.clone()
        changed[:, 9] += change
        with torch.no_grad():
            outputs = [seeded_output(model.backbone, each)[:, :9] for each in (changed, x)]
        moved.append((outputs[0] - outputs[1]).abs().max().item())
    assert moved[0] < 1e-6
    assert moved[1] > 1e-2


def test_the_budget_grows_until_a_width_fits() -> None:
    assert fake("Valid").parameters == 20_000
    assert fake("OnlySixtyFour").width == 64
    assert fake("OnlySixtyFour").parameters > 64 * 64 * 19


@pytest.mark.parametrize(
    ("name", "code"),
    [("Valid", ""), ("LooksAhead", "looks-ahead"), ("MixesRows", "looks-ahead"),
     ("ForgetsItsState", "state-diverges")],
)  # fmt: skip
def test_what_is_measured_is_the_model(name: str, code: str) -> None:
    model = fake(name).build().eval()
    prompt = fake(name).tokens(batch=4)
    found_code = ""
    try:
        check_prefill(model, prompt, 16)
        check_decode(model, prompt, 16)
    except CheckFailed as error:
        found_code = error.code
    assert found_code == code
