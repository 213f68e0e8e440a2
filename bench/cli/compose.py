"""Compose a command line into runs, each once. Imports no torch."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from bench.cli.composer import Composer, open_hydra
from bench.cli.launchers import Launcher
from bench.cli.overrides import check_overrides, check_sweep_values
from bench.cli.sweep import MULTIRUN, Job, Sweep, split_flags
from bench.config.errors import UserError
from bench.config.identity import architecture_id, digest, run_name
from bench.config.schema import Run

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


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
        return replace(sweep, jobs=(composer.job(list(map(_line, task))),))
    if master.hydra.sweeper._target_ != BASIC_SWEEPER:
        first = composer.job([_line(each) for each in task if not each.is_sweep_override()])
        return replace(sweep, jobs=(first,), is_enumerated=False)
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    return replace(sweep, jobs=tuple(_product(composer, [*params, *map(_line, task)])))


def _product(composer: Composer, overrides: list[str]) -> Iterator[Job]:
    """Compose the product of swept values, as Hydra's own sweeper forms it."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = composer.parse(overrides)
    check_sweep_values(parsed, composer.loader.get_group_options)
    (batch,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return map(composer.job, batch)


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
    if control.arch not in arches or len(arches) < 2 or not enumerated or sweep.runs[0].base:
        return []
    if shared := sorted({run.seed for run in sweep.runs} & set(control.seeds)):
        raise UserError(
            f"seed={shared[0]} belongs to the A/A control of this suite: take another one, "
            "or give control.seeds=[…]",
            "conflicting-values",
        )
    kept = dict.fromkeys(
        tuple(word for word in job.overrides if word.partition("=")[0] != "seed")
        for job in sweep.jobs
        if job.run.names["arch"] == control.arch
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


def _line(override: Override) -> str:
    return override.input_line or ""
