"""Define the checks of the contract: what each does, expects and observes, and how to fix it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from bench.model import (
    PLUGIN_ERRORS,
    LanguageModel,
    ModelBuildError,
    build_model,
    describe_error,
    solve_width,
)
from bench.model.contract.probes import CheckFailed
from bench.system.exits import contain_plugin

# parameters, tried in this order: the first budget that has a width is used
PARAMETER_BUDGETS = (20_000, 80_000, 320_000, 1_280_000, 5_120_000)


@dataclass(frozen=True)
class ModelUnderTest:
    """Hold an architecture at a size at which checks take seconds.

    `arch` is its YAML, `training_length` the tokens of a sequence in its runs. Raises
    ModelBuildError where no budget has a width.
    """

    arch: Mapping[str, Any]
    context: int = 16
    vocabulary: int = 11
    training_length: int = 16
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
        """Read the architecture of a YAML file."""
        return cls(yaml.safe_load(Path(path).read_text(encoding="utf-8")))

    def build(self, seed: int = 0, context: int = 0) -> LanguageModel:
        """Build a model, by default for this context."""
        return build_model(self.arch, self.width, context or self.context, self.vocabulary, seed)

    def tokens(self, seed: int = 0, batch: int = 2) -> Tensor:
        """Draw random tokens (B, T)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.vocabulary, (batch, self.context), generator=generator)


class CheckSkipped(Exception):
    """Say why a check does not apply to an architecture."""


@dataclass(frozen=True)
class Check:
    """Describe one check; `run` returns what it observed, or raises CheckFailed or CheckSkipped."""

    name: str
    action: str
    expected: str
    fix: str
    run: Callable[[ModelUnderTest], str]

    def __str__(self) -> str:
        return self.name


CHECKS: list[Check] = []  # all of them, in the order of the table
Run = Callable[[ModelUnderTest], str]


def contract_check(action: str, expected: str, fix: str) -> Callable[[Run], Run]:
    """Register a function as a check under its own name."""

    def register(run: Run) -> Run:
        CHECKS.append(Check(run.__name__, action, expected, fix, run))
        return run

    return register


@dataclass(frozen=True)
class CheckResult:
    """Hold the result of a check; `code` names the reason of a failure."""

    check: Check
    status: Literal["passed", "failed", "skipped"]
    observed: str
    code: str = ""

    def sentence(self) -> str:
        """Return the result in one line."""
        check = self.check
        text = f"{check.name}: {check.action}; expected: {check.expected}; got: {self.observed}"
        return f"{text}; to fix it: {check.fix}" if self.status == "failed" else text


def run_check(check: Check, model: ModelUnderTest) -> CheckResult:
    """Run one check; whatever it raises becomes its result."""
    try:
        with contain_plugin():
            return CheckResult(check, "passed", check.run(model))
    except CheckSkipped as reason:
        return CheckResult(check, "skipped", str(reason))
    except CheckFailed as error:
        return CheckResult(check, "failed", str(error), error.code)
    except ModelBuildError as error:
        return CheckResult(check, "failed", str(error), "not-built")
    except PLUGIN_ERRORS as error:
        return CheckResult(check, "failed", f"it raised {describe_error(error)}", "raised")
