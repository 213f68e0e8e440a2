"""A line of the contract: what is done, what is expected of it, how to mend it, and what came when it was examined."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from bench.contract.probes import CheckFailed
from bench.model import (
    PLUGIN_ERRORS,
    LanguageModel,
    ModelBuildError,
    build_model,
    describe_error,
    solve_width,
)

PARAMETER_BUDGETS = (
    20_000,
    80_000,
    320_000,
    1_280_000,
    5_120_000,
)  # parameters: the first that the architecture fits into


@dataclass(frozen=True)
class ModelUnderTest:
    """An architecture at a size small enough to check it in seconds. Raises UserError where it can not be made."""

    arch: Mapping[str, Any]  # its YAML
    context: int = 16
    vocabulary: int = 11
    parameters: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        for parameters in PARAMETER_BUDGETS:
            try:
                width = solve_width(self.arch, parameters, self.context, self.vocabulary)
                break
            except ModelBuildError:
                if parameters == PARAMETER_BUDGETS[-1]:
                    raise
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "width", width)

    @classmethod
    def read(cls, path: str | Path) -> "ModelUnderTest":
        """The architecture of a YAML file."""
        return cls(yaml.safe_load(Path(path).read_text(encoding="utf-8")))

    def build(self, seed: int = 0, context: int = 0) -> LanguageModel:
        """A model at the subject's width, for its context or for another one."""
        return build_model(self.arch, self.width, context or self.context, self.vocabulary, seed)

    def tokens(self, seed: int = 0, batch: int = 2) -> Tensor:
        """Random tokens, (B, T)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.vocabulary, (batch, self.context), generator=generator)


class CheckSkipped(Exception):
    """A check that is not asked of this architecture; the message is why."""


@dataclass(frozen=True)
class Check:
    """One line of the contract."""

    name: str
    done: str
    expected: str
    fix: str
    run: Callable[[ModelUnderTest], str]  # returns what came; raises Broken or NotAsked

    def __str__(self) -> str:
        return self.name


CHECKS: list[Check] = []  # all of them, in the order in which they are told


def contract_check(
    done: str, expected: str, mend: str
) -> Callable[[Callable[[ModelUnderTest], str]], Callable[[ModelUnderTest], str]]:
    """Enter a check under its function's name."""

    def enter(run: Callable[[ModelUnderTest], str]) -> Callable[[ModelUnderTest], str]:
        CHECKS.append(Check(run.__name__, done, expected, mend, run))
        return run

    return enter


@dataclass(frozen=True)
class CheckResult:
    """What a check found."""

    check: Check
    status: Literal["holds", "broken", "not asked"]
    observed: str

    def sentence(self) -> str:
        """One plain line."""
        said = f"{self.check.name}: {self.check.done}; expected: {self.check.expected}; came: {self.observed}"
        return f"{said}; to mend it: {self.check.fix}" if self.status == "broken" else said


def run_check(check: Check, subject: ModelUnderTest) -> CheckResult:
    """Run one check; whatever it raises is its finding."""
    try:
        return CheckResult(check, "holds", check.run(subject))
    except CheckSkipped as reason:
        return CheckResult(check, "not asked", str(reason))
    except (CheckFailed, ModelBuildError) as error:
        return CheckResult(check, "broken", str(error))
    except PLUGIN_ERRORS as error:
        return CheckResult(check, "broken", f"it raised {describe_error(error)}")
