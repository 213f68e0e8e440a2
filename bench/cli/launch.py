"""Hand composed runs to the launcher that `hydra/launcher=…` names. Imports no torch."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from bench.cli.composer import conf_folder, open_hydra, register
from bench.cli.hydra_errors import raise_user_errors
from bench.cli.sweep import Sweep

INSPECTION_FLAGS = frozenset(
    "--help -h --cfg -c --info -i --hydra-help --version --shell-completion -sc".split()
)
Task = Callable[[DictConfig], None]


def inspects_configuration(arguments: Sequence[str]) -> bool:
    """Return whether a command asks Hydra for help or for the configuration, and for no run."""
    return any(argument.partition("=")[0] in INSPECTION_FLAGS for argument in arguments)


def inspect_configuration(arguments: Sequence[str]) -> None:
    """Print Hydra's help, or the configuration that a command line composes. Raise UserError."""
    register()
    sys.argv[1:] = arguments
    options = {"config_path": str(conf_folder()), "config_name": "config"}
    with raise_user_errors(), _groups_listed_once():
        hydra.main(version_base="1.3", **options)(lambda config: None)()


@contextmanager
def _groups_listed_once() -> Iterator[None]:
    """Let Hydra list all groups from one copy of its repository; it copies it for each group."""
    own, copies = ConfigLoaderImpl.get_group_options, dict[tuple[str | None, ...], Any]()

    def get_group_options(
        self: ConfigLoaderImpl,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        key, given = (config_name, *(overrides or ())), overrides or []
        if key not in copies:
            _, copies[key] = self._parse_overrides_and_create_caching_repo(config_name, given)
        options: list[str] = copies[key].get_group_options(group_name, results_filter)
        return options

    setattr(ConfigLoaderImpl, own.__name__, get_group_options)
    try:
        yield
    finally:
        setattr(ConfigLoaderImpl, own.__name__, own)


def launch(sweep: Sweep, task: Task) -> None:
    """Call `task` for each run of a sweep, where and when its launcher chooses.

    The launcher gets the overrides of the runs; `task`, which it may pickle, brings the runs. If
    another sweeper than Hydra's own is configured, that one chooses the overrides.
    """
    with open_hydra(sweep.command.arguments) as composer:
        if not sweep.is_enumerated:
            composer.hydra.multirun(composer.name, task, composer.overrides)
            return
        with composer.user_errors():
            master = composer.master()
        # what the launchers' YAMLs reserve processors by
        master.threads = max(run.threads for run in sweep.runs)
        master.train.ranks = max(run.train.ranks for run in sweep.runs)
        name, callbacks = composer.name, Callbacks(master)
        context = HydraContext(composer.loader, callbacks)
        launcher = Plugins.instance().instantiate_launcher(context, task, master)
        callbacks.on_multirun_start(master, config_name=name)
        _launch_batches(launcher, sweep, master.hydra.sweeper.max_batch_size)
        callbacks.on_multirun_end(master, config_name=name)


def _launch_batches(launcher: Launcher, sweep: Sweep, size: int | None) -> None:
    jobs = [list(job.overrides) for job in sweep.jobs]
    size = size or len(jobs)
    for first in range(0, len(jobs), size):
        for result in launcher.launch(jobs[first : first + size], initial_job_idx=first):
            _ = result.return_value  # raises what the task raised
