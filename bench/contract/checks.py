"""A line of the contract: what is done, what is expected of it, how to mend it, and what came when it was examined."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor

from bench.contract.probes import Broken
from bench.model.language_model import FAULTS, CannotBuild, LanguageModel, build, told
from bench.model.sizing import solve_width

BUDGETS = (
    20_000,
    80_000,
    320_000,
    1_280_000,
    5_120_000,
)  # parameters: the first that the architecture fits into


@dataclass(frozen=True)
class Subject:
    """An architecture at a size small enough to check it in seconds. Raises UserError where it can not be made."""

    arch: Mapping[str, Any]  # its YAML
    context: int = 16
    vocabulary: int = 11
    parameters: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        for parameters in BUDGETS:
            try:
                width = solve_width(self.arch, parameters, self.context, self.vocabulary)
                break
            except CannotBuild:
                if parameters == BUDGETS[-1]:
                    raise
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "width", width)

    @classmethod
    def read(cls, path: str | Path) -> "Subject":
        """The architecture of a YAML file."""
        return cls(yaml.safe_load(Path(path).read_text(encoding="utf-8")))

    def build(self, seed: int = 0, context: int = 0) -> LanguageModel:
        """A model at the subject's width, for its context or for another one."""
        return build(self.arch, self.width, context or self.context, self.vocabulary, seed)

    def tokens(self, seed: int = 0, batch: int = 2) -> Tensor:
        """Random tokens, (B, T)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.vocabulary, (batch, self.context), generator=generator)


class NotAsked(Exception):
    """A check that is not asked of this architecture; the message is why."""


@dataclass(frozen=True)
class Check:
    """One line of the contract."""

    name: str
    done: str
    expected: str
    mend: str
    run: Callable[[Subject], str]  # returns what came; raises Broken or NotAsked

    def __str__(self) -> str:
        return self.name


CHECKS: list[Check] = []  # all of them, in the order in which they are told


def promise(
    done: str, expected: str, mend: str
) -> Callable[[Callable[[Subject], str]], Callable[[Subject], str]]:
    """Enter a check under its function's name."""

    def enter(run: Callable[[Subject], str]) -> Callable[[Subject], str]:
        CHECKS.append(Check(run.__name__, done, expected, mend, run))
        return run

    return enter


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: Check
    status: Literal["holds", "broken", "not asked"]
    came: str

    def sentence(self) -> str:
        """One plain line."""
        said = f"{self.check.name}: {self.check.done}; expected: {self.check.expected}; came: {self.came}"
        return f"{said}; to mend it: {self.check.mend}" if self.status == "broken" else said


def examine(check: Check, subject: Subject) -> Finding:
    """Run one check; whatever it raises is its finding."""
    try:
        return Finding(check, "holds", check.run(subject))
    except NotAsked as reason:
        return Finding(check, "not asked", str(reason))
    except (Broken, CannotBuild) as error:
        return Finding(check, "broken", str(error))
    except FAULTS as error:
        return Finding(check, "broken", f"it raised {told(error)}")
