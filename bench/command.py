"""A command line turned into runs, by Hydra; what Hydra refuses becomes one line. Imports no torch."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench import launchers, machine, plans, tune
from bench.config import Mistake, Run, Tune, from_plain, nearest
from bench.identity import architecture, digest, run_name
from bench.installed import InstalledArchitectures, check_apart, folders
from bench.limits import check

GROUPS = ("arch", "data", "size", "objective", "train", "optimizer", "measure")
BUILT_IN = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # the sweeper whose cells are known beforehand


def conf_folder() -> Path:
    """Where the project's own YAMLs lie: beside the packages in a checkout, inside `bench` in an installation."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def register() -> None:
    """Tell Hydra the dataclasses behind the YAMLs, and the resolvers that the YAMLs use."""
    ConfigStore.instance().store(name="schema", node=Run)
    Plugins.instance().register(InstalledArchitectures)
    OmegaConf.register_new_resolver("parallel_jobs", machine.parallel_jobs, replace=True)
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/ray' is validated")  # ours has its plug-in's name on purpose


class Command(NamedTuple):
    """What a command line asks for."""

    runs: list[Run]
    sweep: bool  # several cells, each of which may fail alone
    complete: bool = True  # False where a sweeper of its own chooses the cells as it goes
    workers: bool = False  # a launcher runs the cells in processes of its own
    elsewhere: bool = False  # and maybe on other machines than this one
    twice: tuple[str, ...] = ()  # names of runs that another of them is already, under another architecture's name: not run
    control: tuple[str, ...] = ()  # the words of the same command for the runs of its A/A control, which are among `runs`


def resolve(config: DictConfig, choices: Mapping[str, str]) -> Run:
    """The run that a composed configuration describes, checked. Raises Mistake."""
    with plain_words():
        tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    names = {group: str(choices[group]) for group in GROUPS}
    run = from_plain({str(key): value for key, value in tree.items()} | {"names": names})
    check(run)
    if run.tune.trial >= 0:
        run = tune.trial(run)
        check(run)
    elif run.tune.trials:
        run = tune.found(run)
    return plans.planned(run)  # of what is trained: a search may have set an option of the architecture


def in_order(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command's flags, then its overrides: Hydra itself takes no flag between two of them."""
    overrides = get_args_parser().parse_intermixed_args(arguments).overrides
    flags, left = [], list(overrides)
    for word in arguments:
        if left and word == left[0]:
            left.pop(0)
        else:
            flags.append(word)
    return flags, overrides


def expand(arguments: Sequence[str]) -> Command:
    """Every run that a command line asks for, before the first one starts. Raises Mistake for what it can not mean."""
    asked = _expand(arguments)
    words = _control(arguments, asked)
    return _once(asked._replace(runs=[*asked.runs, *_expand(words).runs], control=tuple(words)) if words else asked)


def _once(asked: Command) -> Command:
    """Without the runs that differ from an earlier one by nothing but the name of their architecture's YAML."""
    first: dict[str, str] = {}
    kept, twice = list[Run](), list[Run]()
    for run in asked.runs:
        given = {"arch": architecture(run.arch), "tune": run.arch.get("tune"), "names": {**run.names, "arch": ""}}
        name = run.names["arch"]
        own = first.setdefault(digest(asdict(run) | given), name) == name
        (kept if own else twice).append(run)
    return asked._replace(runs=kept, twice=tuple(run_name(run) for run in twice))


def _control(arguments: Sequence[str], asked: Command) -> list[str]:
    """The words that run the suite's A/A control; none where it has none, or where its architecture is compared with no other.

    Raises Mistake where the two can not be told apart.
    """
    control, arches = asked.runs[0].control, {run.names["arch"] for run in asked.runs}
    if control.arch not in arches or len(arches) < 2 or not (asked.sweep and asked.complete):
        return []
    if shared := sorted({run.seed for run in asked.runs} & set(control.seeds)):
        raise Mistake(f"seed={shared[0]} belongs to the A/A control of this suite: take another one, or give control.seeds=[…]")
    flags, overrides = in_order(arguments)
    kept = [word for word in overrides if word.partition("=")[0] not in ("arch", "seed")]
    return [*flags, *kept, f"arch={control.arch}", f"seed={','.join(map(str, control.seeds))}"]


def trials(arguments: Sequence[str], tune: Tune) -> list[str]:
    """The words that run the trials of a command's searches: all that it names but seeds, once for each trial."""
    flags, overrides = in_order(arguments)
    kept = [word for word in overrides if word.partition("=")[0] not in ("seed", "dry", "control.arch", "control.seeds")]
    more = [f"seed={tune.seed}", f"tune.trial={','.join(map(str, range(tune.trials)))}", "control.arch="]
    return [*(flag for flag in flags if flag not in ("-m", "--multirun")), "-m", *kept, *more]


def _expand(arguments: Sequence[str]) -> Command:
    asked = get_args_parser().parse_args(arguments)
    folder = [] if asked.config_dir is None else [os.path.abspath(asked.config_dir)]
    if folder and not Path(folder[0]).is_dir():
        raise Mistake(f"--config-dir {asked.config_dir} is no folder")
    check_apart([("the project", conf_folder()), *folders(), *(("--config-dir", Path(path)) for path in folder)])
    overrides = [*asked.overrides, *(f"hydra.searchpath=[file://{path}]" for path in folder)]
    name = asked.config_name or "config"
    with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="bench"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        with plain_words(hydra.config_loader, name):
            return _cells(hydra, name, overrides, asked.multirun)


def _cells(hydra: Any, name: str, overrides: list[str], multirun: bool) -> Command:
    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(overrides)
    master = _composed(hydra, name, overrides, RunMode.MULTIRUN)
    if not (multirun or master.hydra.mode == RunMode.MULTIRUN):
        return Command([_compose(hydra, name, overrides)], sweep=False)
    launcher = master.hydra.launcher._target_
    launchers.check(launcher, master.hydra.runtime.choices["hydra/launcher"])
    workers = not launcher.endswith(".BasicLauncher")
    elsewhere = workers and not launcher.startswith(launchers.JOBLIB[0])
    if master.hydra.sweeper._target_ != BUILT_IN:
        first = _compose(hydra, name, [_line(o) for o in parsed if not o.is_sweep_override()])
        return Command([first], True, complete=False, workers=workers, elsewhere=elsewhere)
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    task = [_line(override) for override in parsed if not override.is_hydra_override()]
    both = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides([*params, *task])
    fixed = [_line(override) for override in parsed if override.is_hydra_override()]
    batches = BasicSweeper.split_arguments(both, max_batch_size=None)
    return Command([_compose(hydra, name, [*cell, *fixed]) for cell in batches[0]], True, workers=workers, elsewhere=elsewhere)


def _line(override: Override) -> str:
    return override.input_line or ""


def _composed(hydra: Any, name: str, overrides: Sequence[str], mode: RunMode) -> Any:
    try:
        return hydra.compose_config(name, list(overrides), run_mode=mode, with_log_configuration=False)
    except ValueError as error:  # Hydra's own, for a group whose choice is no word
        wrong = [word for word in overrides if word.partition("=")[0] in (*GROUPS, "suite")]
        wrong = [word for word in wrong if re.fullmatch(r"null|true|false|[-+.\d]+", word.partition("=")[2], re.I)]
        if not wrong or not str(error).startswith("Config group override"):
            raise
        raise Mistake(
            f"{wrong[0]} is no name of a YAML: leave it out, or name one of conf/{wrong[0].partition('=')[0]}"
        ) from None


def _compose(hydra: Any, name: str, overrides: Sequence[str]) -> Run:
    config = _composed(hydra, name, overrides, RunMode.RUN)
    choices = config.hydra.runtime.choices
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return resolve(config, choices)


# --- Hydra's refusals in plain words ----------------------------------------------------------------------------------


@contextmanager
def plain_words(loader: Any = None, name: str = "config") -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a Mistake of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        _explain(error, loader, name)


def _explain(error: Exception, loader: Any, name: str) -> NoReturn:
    text = " ".join([str(error), str(error.__cause__ or "")])
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, word = found.groups()
        if group == "hydra/launcher" and (plug_in := launchers.missing(word)):
            raise Mistake(plug_in) from None
        known = loader.get_group_options(group) if loader else ()
        raise Mistake(f"{group}={word} is not known; {nearest(word, known)}") from None
    if found := re.search(r"(?:Could not override|You must specify) '([^']+)'", text):
        key = found.group(1).partition("@")[0]
        raise Mistake(f"{key} is no key; {nearest(key, _keys(loader, name))}") from None
    if found := re.search(r"Key '([^']+)' not in '(\w+)'", text):
        full = re.search(r"full_key: (\S+)", text)
        key = full.group(1) if full else found.group(1)
        raise Mistake(f"{key} is no key; {nearest(key, _keys(loader, name))}") from None
    if found := re.search(r"(Value .+?) +full_key: (\S+)", text, re.DOTALL):
        raise Mistake(f"{found.group(2)}: {' '.join(found.group(1).split()).lower()}") from None
    if found := re.search(r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)'", text):
        raise Mistake(f"{found.group(1) or found.group(2)} names several values: add -m to run them all") from None
    said = [*str(error).splitlines()[:2], *str(error.__cause__ or "").splitlines()[:1]]
    lines = dict.fromkeys(line.strip() for line in said if line.strip() and not line.startswith("See http"))
    raise Mistake(": ".join(lines) if lines else type(error).__name__) from None


def _keys(loader: Any, name: str) -> list[str]:
    """Every group and every dotted key of the default configuration."""
    if loader is None:
        return []
    config = loader.load_configuration(name, [], run_mode=RunMode.RUN)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return [*GROUPS, "suite", *_dotted(OmegaConf.to_container(config))]


def _dotted(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
