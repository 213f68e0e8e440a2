"""A line of an architecture's contract: what is expected, how it is checked, what was found, how to mend it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.model import CannotBuild
from bench.probe import Broken, Subject


class NotAsked(Exception):
    """A check that is not asked of this architecture; the message is why."""


@dataclass(frozen=True)
class Check:
    """One line of the contract."""

    name: str
    expected: str
    mend: str
    run: Callable[[Subject], str]  # returns what came; raises Broken or NotAsked


CHECKS: list[Check] = []  # all of them, in the order in which they are told


def promise(expected: str, mend: str) -> Callable[[Callable[[Subject], str]], Callable[[Subject], str]]:
    """Enter a check under its function's name."""

    def enter(run: Callable[[Subject], str]) -> Callable[[Subject], str]:
        CHECKS.append(Check(run.__name__, expected, mend, run))
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
        said = f"{self.check.name}: expected: {self.check.expected}; came: {self.came}"
        return f"{said}; to mend it: {self.check.mend}" if self.status == "broken" else said


def examine(check: Check, subject: Subject) -> Finding:
    """Run one check; whatever it raises is its finding."""
    try:
        return Finding(check, "holds", check.run(subject))
    except NotAsked as reason:
        return Finding(check, "not asked", str(reason))
    except (Broken, CannotBuild) as error:
        return Finding(check, "broken", str(error))
    except Exception as error:
        return Finding(check, "broken", f"it raised {type(error).__name__}: {' '.join(str(error).split())[:300]}")
