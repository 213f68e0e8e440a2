"""The whole contract on every architecture of conf/arch, and on doubles that break it one promise at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench.contract import CHECKS, Check, Subject, check_before_training, examine
from bench.model import CannotBuild

FILES = sorted((Path(__file__).parent.parent / "conf" / "arch").glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def double(name: str) -> Subject:
    return Subject({"_target_": f"tests.doubles.{name}"})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_promise_holds(path: Path, check: Check) -> None:
    finding = examine(check, Subject(read(path)))
    assert finding.status != "broken", finding.sentence()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_yaml_says_what_it_is(path: Path) -> None:
    first, arch = path.read_text(encoding="utf-8").splitlines()[0], read(path)
    assert first.startswith("# ")
    assert len(first) > 40
    assert arch["family"] in ("attention", "recurrent", "convolution", "encoder", "control")
    assert arch["card"]["summary"].strip().count(". ") == 1, "two sentences"
    low, high = arch["tune"]["space"]["learning_rate"]
    assert low < arch["tune"]["learning_rate"] < high


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sound_architecture_may_train_and_is_left_as_it_was(path: Path) -> None:
    model = Subject(read(path)).build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_before_training(model)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_sound_double_keeps_the_contract(check: Check) -> None:
    finding = examine(check, double("Sound"))
    assert finding.status == "holds", finding.sentence()


BROKEN = [  # the double, the promise that it breaks, and words of the reason
    ("LooksAhead", "causality", "looks ahead while it says causal"),
    ("LooksAheadFar", "causality", "another token at position 15"),
    ("OnlyClaimsBothWays", "causality", "the last token moves nothing"),
    ("WrongShape", "output", "wrong shape: (2, 15,"),
    ("WrongType", "output", "wrong dtype: torch.float64"),
    ("NotFinite", "output", "not finite"),
    ("NoPair", "output", "not a pair"),
    ("Raises", "output", "not written yet"),
    ("MixesRows", "rows", "mixes rows"),
    ("LosesGradients", "gradients", "backbone.convolution.weight"),
    ("LooksAtPadding", "padding", "looks at padding"),
    ("ForgetsItsState", "pieces", "does not continue"),
    ("GrowsItsState", "pieces", "changed its size"),
    ("DrawsOutside", "repeatable", "outside the given seed"),
    ("HidesWeights", "storable", "not saved"),
    ("GrowsInForward", "budget", "exceeds its budget"),
    ("Understates", "flops", "were counted"),
    ("CannotLearn", "memory", "does not learn"),
    ("DoesNotTrace", "tracing", "traced by torch.compile its outputs"),
]


@pytest.mark.parametrize(("name", "promise", "words"), BROKEN, ids=[row[0] for row in BROKEN])
def test_broken_promise_is_caught_by_name_and_reason(name: str, promise: str, words: str) -> None:
    check = next(check for check in CHECKS if check.name == promise)
    finding = examine(check, double(name))
    assert finding.status == "broken", finding.sentence()
    assert words in finding.came
    assert finding.sentence().startswith(f"{promise}: expected: {check.expected}; came: ")
    assert finding.sentence().endswith(f"to mend it: {check.mend}")


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
    with pytest.raises(CannotBuild, match=f"^{name}: .*{words}"):
        check_before_training(double(name).build())


def test_rounding_alone_is_no_look_ahead() -> None:
    """A Fourier transform mixes the roundings of all positions; in float64 that is told from a leak."""
    subject = double("ByFourier")
    finding = examine(next(check for check in CHECKS if check.name == "causality"), subject)
    assert finding.status == "holds", finding.sentence()
