"""Describe what a command line asks for: its arguments, its runs and how they are launched."""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bench.cli.overrides import parser
from bench.config.dependencies import LATER_GROUPS
from bench.config.schema import Run

MULTIRUN = ("-m", "--multirun")


class Job(NamedTuple):
    """A run, the overrides that compose it, and the digest of its data once they are prepared."""

    run: Run
    overrides: tuple[str, ...]
    data_digest: str = ""


@dataclass(frozen=True)
class CommandLine:
    """The arguments of a command: its flags in front, as Hydra takes none between overrides."""

    flags: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    began: float = field(default_factory=time.time)  # seconds since the epoch

    @property
    def arguments(self) -> list[str]:
        return [*self.flags, *self.overrides]


@dataclass(frozen=True)
class Sweep:
    """The runs that a command line asks for, and how its launcher runs them."""

    jobs: tuple[Job, ...]
    command: CommandLine = CommandLine()
    is_sweep: bool = False  # several runs, each of which may fail alone
    is_enumerated: bool = (
        True  # False where another sweeper than Hydra's own chooses runs as it goes
    )
    parallel: bool = False  # the launcher runs them in processes of its own
    remote: bool = False  # and maybe on other machines than this one
    duplicates: tuple[str, ...] = ()  # run names: equal to another run but for the name of its YAML

    @property
    def runs(self) -> list[Run]:
        return [job.run for job in self.jobs]

    @property
    def folder(self) -> Path:
        """The suite's folder, the same for all runs."""
        return Path(self.jobs[0].run.results) / self.jobs[0].run.suite

    def with_runs(self, runs: Sequence[Run]) -> "Sweep":
        """Return the sweep with other values of its runs, in their order."""
        jobs = (job._replace(run=run) for job, run in zip(self.jobs, runs, strict=True))
        return replace(self, jobs=tuple(jobs))


def is_task_override(override: str) -> bool:
    """Tell whether an override is about what starts from a run, and not about that run."""
    return override.lstrip("+").partition("=")[0].partition(".")[0] in LATER_GROUPS


def split_flags(arguments: Sequence[str]) -> CommandLine:
    """Split a command's arguments into flags and overrides."""
    overrides = parser().parse_intermixed_args(arguments).overrides
    flags, left = [], list(overrides)
    for argument in arguments:
        if left and argument == left[0]:
            left.pop(0)
        else:
            flags.append(argument)
    return CommandLine(tuple(flags), tuple(overrides))


def distinct(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[Run]:
    """Return the first run of each key, in order."""
    first = dict[Hashable, Run]()
    for run in runs:
        first.setdefault(key(run), run)
    return list(first.values())
