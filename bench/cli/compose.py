"""A command line turned into runs, by Hydra. Imports no torch."""

import os
import re
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
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

from bench import planning
from bench.cli import launchers
from bench.cli.hydra_errors import (
    GROUPS,
    check_keys,
    check_overrides,
    check_sweep_values,
    parser,
    raise_user_errors,
)
from bench.config.errors import UserError
from bench.config.identity import architecture_id, digest, run_name
from bench.config.plugins import InstalledArchitecturesPlugin, check_unique_names, installed_folders
from bench.config.schema import Run, TuneConfig, run_from_dict
from bench.config.validation import validate_run
from bench.planning import budget
from bench.system import host

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # the sweeper whose cells are known beforehand


def conf_folder() -> Path:
    """Where the project's own YAMLs lie: beside the packages in a checkout, inside `bench` in an installation."""
    inside = Path(__file__).parent.parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


@cache
def register() -> None:
    """Tell Hydra the dataclasses behind the YAMLs, and the resolvers that the YAMLs use."""
    ConfigStore.instance().store(name="schema", node=Run)
    Plugins.instance().register(InstalledArchitecturesPlugin)
    OmegaConf.register_new_resolver("parallel_jobs", host.parallel_jobs, replace=True)
    warnings.filterwarnings(
        "ignore", message=r"\s*'hydra/launcher/ray' is validated"
    )  # ours has its plug-in's name on purpose


def distinct(runs: Iterable[Run], key: Callable[[Run], Hashable]) -> list[Run]:
    """The first run of each key, in their order."""
    found = dict[Hashable, Run]()
    for run in runs:
        found.setdefault(key(run), run)
    return list(found.values())


class Sweep(NamedTuple):
    """What a command line asks for."""

    runs: list[Run]
    sweep: bool  # several cells, each of which may fail alone
    complete: bool = True  # False where a sweeper of its own chooses the cells as it goes
    workers: bool = False  # a launcher runs the cells in processes of its own
    remote: bool = False  # and maybe on other machines than this one
    duplicates: tuple[
        str, ...
    ] = ()  # names of runs that another of them is already, under another architecture's name: not run
    control: tuple[
        str, ...
    ] = ()  # the words of the same command for the runs of its A/A control, which are among `runs`


def run_from_config(config: DictConfig, choices: Mapping[str, str]) -> Run:
    """The run that a composed configuration describes, checked. Raises UserError."""
    with raise_user_errors():
        tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    plain = {str(key): value for key, value in tree.items()}
    check_keys(plain)
    names = {group: str(choices[group]) for group in GROUPS}
    run = run_from_dict(plain | {"names": names})
    validate_run(run)
    if run.tune.trial >= 0:
        run = planning.trial_run(run)
        validate_run(run)
    elif run.tune.trials:
        run = planning.apply_search(run)
    return budget.apply_plan(
        run
    )  # of what is trained: a search may have set an option of the architecture


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's flags, then its overrides: Hydra itself takes no flag between two of them."""
    overrides = parser().parse_intermixed_args(arguments).overrides
    flags, left = [], list(overrides)
    for word in arguments:
        if left and word == left[0]:
            left.pop(0)
        else:
            flags.append(word)
    return flags, overrides


def compose_sweep(arguments: Sequence[str]) -> Sweep:
    """Every run that a command line asks for, before the first one starts. Raises UserError for what it can not mean."""
    asked = _expand(arguments)
    _check_one_folder(asked.runs)
    words = _control_overrides(arguments, asked)
    return _drop_duplicates(
        asked._replace(runs=[*asked.runs, *_expand(words).runs], control=tuple(words))
        if words
        else asked
    )


def _check_one_folder(runs: Sequence[Run]) -> None:
    """Raise UserError for a sweep over what decides where a command writes."""
    for key in ("results", "suite"):
        if len(values := list(dict.fromkeys(getattr(run, key) for run in runs))) > 1:
            raise UserError(
                f"{key}={','.join(values)}: one command writes into one folder; give a command for each"
            )


def _drop_duplicates(asked: Sweep) -> Sweep:
    """Without the runs that differ from an earlier one by nothing but the name of their architecture's YAML."""
    first: dict[str, str] = {}
    kept, twice = list[Run](), list[Run]()
    for run in asked.runs:
        given = {
            "arch": architecture_id(run.arch),
            "tune": run.arch.get("tune"),
            "names": {**run.names, "arch": ""},
        }
        name = run.names["arch"]
        own = first.setdefault(digest(asdict(run) | given), name) == name
        (kept if own else twice).append(run)
    return asked._replace(runs=kept, duplicates=tuple(run_name(run) for run in twice))


def _control_overrides(arguments: Sequence[str], asked: Sweep) -> list[str]:
    """The words that run the suite's A/A control; none where it has none, or where its architecture is compared with no other.

    Raises UserError where the two can not be told apart.
    """
    control, arches = asked.runs[0].control, {run.names["arch"] for run in asked.runs}
    if control.arch not in arches or len(arches) < 2 or not (asked.sweep and asked.complete):
        return []
    if shared := sorted({run.seed for run in asked.runs} & set(control.seeds)):
        raise UserError(
            f"seed={shared[0]} belongs to the A/A control of this suite: take another one, or give control.seeds=[…]"
        )
    flags, overrides = split_flags(arguments)
    kept = [word for word in overrides if word.partition("=")[0] not in ("arch", "seed")]
    return [*flags, *kept, f"arch={control.arch}", f"seed={','.join(map(str, control.seeds))}"]


def trial_overrides(arguments: Sequence[str], tune: TuneConfig) -> list[str]:
    """The words that run the trials of a command's searches: all that it names but seeds, once for each trial."""
    flags, overrides = split_flags(arguments)
    kept = [
        word
        for word in overrides
        if word.partition("=")[0] not in ("seed", "dry", "control.arch", "control.seeds")
    ]
    more = [
        f"seed={tune.seed}",
        f"tune.trial={','.join(map(str, range(tune.trials)))}",
        "control.arch=",
    ]
    return [*(flag for flag in flags if flag not in ("-m", "--multirun")), "-m", *kept, *more]


def _expand(arguments: Sequence[str]) -> Sweep:
    register()
    asked = parser().parse_args(arguments)
    folder = [] if asked.config_dir is None else [os.path.abspath(asked.config_dir)]
    if folder and not Path(folder[0]).is_dir():
        raise UserError(f"--config-dir {asked.config_dir} is no folder")
    sources = [
        ("the project", conf_folder()),
        *installed_folders(),
        *(("--config-dir", Path(path)) for path in folder),
    ]
    check_unique_names(sources)
    overrides = [*asked.overrides, *(f"hydra.searchpath=[file://{path}]" for path in folder)]
    name = asked.config_name or "config"
    with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="bench"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        with raise_user_errors(hydra.config_loader, name, [path for _, path in sources]):
            return _expand_sweep(hydra, name, overrides, asked.multirun)


def _expand_sweep(hydra: Any, name: str, overrides: list[str], multirun: bool) -> Sweep:
    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(overrides)
    check_overrides(parsed)
    master = _composed(hydra, name, overrides, RunMode.MULTIRUN)
    launcher, chosen = (
        master.hydra.launcher._target_,
        master.hydra.runtime.choices["hydra/launcher"],
    )
    if not (multirun or master.hydra.mode == RunMode.MULTIRUN):
        launchers.check_single(launcher, chosen)
        return Sweep([_compose(hydra, name, overrides)], sweep=False)
    launchers.check(
        launcher, chosen, str(OmegaConf.select(master.hydra.launcher, "ray.init.address") or "")
    )
    workers = not launcher.endswith(".BasicLauncher")
    elsewhere = workers and not launcher.startswith(launchers.JOBLIB[0])
    if master.hydra.sweeper._target_ != BASIC_SWEEPER:
        first = _compose(hydra, name, [_line(o) for o in parsed if not o.is_sweep_override()])
        return Sweep([first], True, complete=False, workers=workers, remote=elsewhere)
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    task = [_line(override) for override in parsed if not override.is_hydra_override()]
    both = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(
        [*params, *task]
    )
    check_sweep_values(both, hydra.config_loader.get_group_options)
    fixed = [_line(override) for override in parsed if override.is_hydra_override()]
    batches = BasicSweeper.split_arguments(both, max_batch_size=None)
    return Sweep(
        [_compose(hydra, name, [*cell, *fixed]) for cell in batches[0]],
        True,
        workers=workers,
        remote=elsewhere,
    )


def _line(override: Override) -> str:
    return override.input_line or ""


def _composed(hydra: Any, name: str, overrides: Sequence[str], mode: RunMode) -> Any:
    try:
        return hydra.compose_config(
            name, list(overrides), run_mode=mode, with_log_configuration=False
        )
    except ValueError as error:  # Hydra's own, for a group whose choice is no word
        wrong = [word for word in overrides if word.partition("=")[0] in (*GROUPS, "suite")]
        wrong = [
            word
            for word in wrong
            if re.fullmatch(r"null|true|false|nan|[-+]?inf|[-+.\de]+", word.partition("=")[2], re.I)
        ]
        if not wrong or not str(error).startswith("Config group override"):
            raise
        raise UserError(
            f"{wrong[0]} is no name of a YAML: leave it out, or name one of conf/{wrong[0].partition('=')[0]}"
        ) from None


def _compose(hydra: Any, name: str, overrides: Sequence[str]) -> Run:
    config = _composed(hydra, name, overrides, RunMode.RUN)
    choices = config.hydra.runtime.choices
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return run_from_config(config, choices)
