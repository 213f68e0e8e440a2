"""Compose a command line into runs, each once, by Hydra. Imports no torch."""

import math
import os
import re
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bench.cli.hydra_errors import (
    GROUPS,
    Source,
    check_keys,
    check_overrides,
    check_sweep_values,
    parser,
    raise_user_errors,
)
from bench.cli.launchers import Launcher
from bench.config.errors import UserError
from bench.config.identity import architecture_id, digest, run_name
from bench.config.plugins import InstalledArchitecturesPlugin, check_unique_names, installed_folders
from bench.config.schema import Run, run_from_dict
from bench.config.validation import validate_run
from bench.system import host

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
MULTIRUN = ("-m", "--multirun")


class Job(NamedTuple):
    """A run, and the overrides that compose it."""

    run: Run
    overrides: tuple[str, ...]


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


def conf_folder() -> Path:
    """Return the project's conf/: beside the packages in a checkout, in `bench` if installed."""
    inside = Path(__file__).parent.parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


@cache
def register() -> None:
    """Register with Hydra the schema, installed architectures and resolvers of conf/."""
    ConfigStore.instance().store(name="schema", node=Run)
    Plugins.instance().register(InstalledArchitecturesPlugin)
    OmegaConf.register_new_resolver("parallel_jobs", host.parallel_jobs, replace=True)
    OmegaConf.register_new_resolver("processors", lambda *counts: math.prod(counts), replace=True)
    # our ray.yaml has the name of its plug-in's on purpose
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated")


def distinct(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[Run]:
    """Return the first run of each key, in order."""
    first = dict[Hashable, Run]()
    for run in runs:
        first.setdefault(key(run), run)
    return list(first.values())


def run_from_config(config: DictConfig, choices: Mapping[str, str]) -> Run:
    """Return the validated run of a composed configuration. Raise UserError."""
    with raise_user_errors():
        tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    plain = {str(key): value for key, value in tree.items()}
    check_keys(plain)
    run = run_from_dict(plain | {"names": {group: str(choices[group]) for group in GROUPS}})
    validate_run(run)
    return run


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


# --- Hydra with the command's configuration folders ----------------------------------------------


class Composer:
    """Hydra, with the configuration folders and the overrides of one command line."""

    def __init__(self, hydra: Any, name: str, overrides: list[str], folders: list[Path]) -> None:
        self.hydra, self.name, self.overrides, self.folders = hydra, name, overrides, folders
        self.loader = hydra.config_loader
        with self.user_errors():
            self.parsed = self.parse(overrides)
        self.fixed = [_line(each) for each in self.parsed if each.is_hydra_override()]

    def user_errors(self) -> AbstractContextManager[None]:
        """Raise UserError in place of what Hydra raises while it composes."""
        return raise_user_errors(Source(self.loader, self.name), self.folders)

    def parse(self, overrides: list[str]) -> list[Override]:
        return OverridesParser.create(config_loader=self.loader).parse_overrides(overrides)

    def job(self, overrides: Sequence[str]) -> Job:
        """Compose one run. Raise UserError."""
        config = self._compose([*overrides, *self.fixed], RunMode.RUN)
        choices = config.hydra.runtime.choices
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return Job(run_from_config(config, choices), tuple(overrides))

    def master(self) -> Any:
        """Compose what all runs of a sweep share: its launcher and its sweeper."""
        return self._compose(self.overrides, RunMode.MULTIRUN)

    def _compose(self, overrides: Sequence[str], mode: RunMode) -> Any:
        try:
            return self.hydra.compose_config(self.name, list(overrides), run_mode=mode)
        except ValueError as error:  # Hydra's own, for a group whose choice is not a word
            word = next(filter(_NOT_A_YAML.match, overrides), "")
            if not word or not str(error).startswith("Config group override"):
                raise
            group = word.partition("=")[0]
            raise UserError(
                f"{word} does not name a YAML: leave it out, or name one of conf/{group}",
                "unknown-choice",
            ) from None


_NOT_A_YAML = re.compile(
    rf"({'|'.join((*GROUPS, 'suite'))})=(null|true|false|nan|[-+]?inf|[-+.\de]+)$", re.I
)


@contextmanager
def open_hydra(arguments: Sequence[str]) -> Iterator[Composer]:
    """Open Hydra for a command line. Raises UserError."""
    register()
    args = parser().parse_args(arguments)
    folder = [] if args.config_dir is None else [os.path.abspath(args.config_dir)]
    if folder and not Path(folder[0]).is_dir():
        raise UserError(f"--config-dir {args.config_dir} is not a folder", "missing-file")
    given = [("--config-dir", Path(path)) for path in folder]
    sources = [("the project", conf_folder()), *installed_folders(), *given]
    check_unique_names(sources)
    overrides = [*args.overrides, *(f"hydra.searchpath=[file://{path}]" for path in folder)]
    name = args.config_name or "config"
    with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="bench"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield Composer(hydra, name, overrides, [path for _, path in sources])


def _line(override: Override) -> str:
    return override.input_line or ""


# --- the runs of a command line ------------------------------------------------------------------


def compose_sweep(arguments: Sequence[str]) -> Sweep:
    """Compose every run that a command line asks for, before the first one starts.

    Plans and searches are not read here: `bench.planning` applies them. Raise UserError.
    """
    command = split_flags(arguments)
    with open_hydra(command.arguments) as composer, composer.user_errors():
        multirun = any(flag in MULTIRUN for flag in command.flags)
        sweep = replace(_expand(composer, multirun), command=command)
        _check_one_folder(sweep.runs)
        sweep = replace(sweep, jobs=(*sweep.jobs, *_control_jobs(composer, sweep)))
    return _drop_duplicates(sweep)


def _expand(composer: Composer, multirun: bool) -> Sweep:
    check_overrides(composer.parsed)
    master = composer.master()
    launcher = Launcher.of(master)
    multirun = multirun or master.hydra.mode == RunMode.MULTIRUN
    launcher.check(multirun)
    sweep = Sweep((), is_sweep=multirun, parallel=launcher.parallel, remote=launcher.remote)
    task = [each for each in composer.parsed if not each.is_hydra_override()]
    if not multirun:
        return replace(sweep, jobs=(composer.job([_line(each) for each in task]),))
    if master.hydra.sweeper._target_ != BASIC_SWEEPER:
        first = composer.job([_line(each) for each in task if not each.is_sweep_override()])
        return replace(sweep, jobs=(first,), is_enumerated=False)
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    both = composer.parse([*params, *map(_line, task)])
    check_sweep_values(both, composer.loader.get_group_options)
    (batch,) = BasicSweeper.split_arguments(both, max_batch_size=None)
    return replace(sweep, jobs=tuple(map(composer.job, batch)))


def _check_one_folder(runs: Sequence[Run]) -> None:
    for key in ("results", "suite"):
        if len(values := list(dict.fromkeys(getattr(run, key) for run in runs))) > 1:
            raise UserError(
                f"{key}={','.join(values)}: one command writes into one folder; "
                "give a command for each",
                "conflicting-values",
            )


def _control_jobs(composer: Composer, sweep: Sweep) -> list[Job]:
    """Compose the A/A control of a sweep: the control architecture again, with other seeds."""
    control, arches = sweep.runs[0].control, {run.names["arch"] for run in sweep.runs}
    enumerated = sweep.is_sweep and sweep.is_enumerated
    if control.arch not in arches or len(arches) < 2 or not enumerated:
        return []
    if shared := sorted({run.seed for run in sweep.runs} & set(control.seeds)):
        raise UserError(
            f"seed={shared[0]} belongs to the A/A control of this suite: take another one, "
            "or give control.seeds=[…]",
            "conflicting-values",
        )
    kept = dict.fromkeys(
        tuple(word for word in overrides if word.partition("=")[0] != "seed")
        for run, overrides in sweep.jobs
        if run.names["arch"] == control.arch
    )
    return [
        composer.job((*overrides, f"seed={seed}")) for overrides in kept for seed in control.seeds
    ]


def _drop_duplicates(sweep: Sweep) -> Sweep:
    """Drop runs that differ from an earlier one by nothing but the name of their YAML."""
    names: dict[str, str] = {}
    kept, duplicates = list[Job](), list[str]()
    for job in sweep.jobs:
        run = job.run
        key = {
            "arch": architecture_id(run.arch),
            "tune": run.arch.get("tune"),
            "names": {**run.names, "arch": ""},
        }
        if names.setdefault(digest(asdict(run) | key), run.names["arch"]) == run.names["arch"]:
            kept.append(job)
        else:
            duplicates.append(run_name(run))
    return replace(sweep, jobs=tuple(kept), duplicates=tuple(duplicates))
