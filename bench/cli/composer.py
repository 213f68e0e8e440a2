"""Compose one configuration by Hydra, with a command line's configuration folders."""

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from bench.cli.hydra_errors import ConfigOrigin, raise_user_errors
from bench.cli.overrides import GROUPS, OWN_KEYS, check_keys, parser, quoted
from bench.cli.sweep import Job
from bench.config.dependencies import LATER_GROUPS, reward_run
from bench.config.errors import UserError
from bench.config.plugins import InstalledArchitecturesPlugin, check_unique_names, installed_folders
from bench.config.schema import Run, run_from_dict
from bench.config.validation import validate_run
from bench.records.loading import load_record
from bench.records.parsing import parse_yaml
from bench.system import host
from bench.system.files import expand_user, read_text

ARCH = re.compile(r"[+~]*arch([.@=]|$)")
SEED = re.compile(r"seed=\d{1,9}")
USES_SEED = re.compile(r"\$\{[^\n]*\bseed\b")  # an interpolation
NOT_A_NAME = re.compile(
    rf"({'|'.join((*GROUPS, 'suite'))})=(null|true|false|nan|[-+]?inf|[-+.\de]+)$", re.I
)


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


def run_from_config(config: DictConfig, choices: Mapping[str, str]) -> Run:
    """Return the validated run of a composed configuration. Raise UserError."""
    with raise_user_errors():
        tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    plain = {str(key): value for key, value in tree.items()}
    check_keys(plain)
    run = run_from_dict(plain | {"names": {group: str(choices[group]) for group in GROUPS}})
    run = replace(run, results=_expand_home(run.results), base=_expand_home(run.base))
    if run.base:
        run = with_base(run)
    validate_run(run)
    return run


def _expand_home(path: str) -> str:
    is_home = path.startswith("~")
    return str(expand_user(path, "name a folder without ~")) if is_home else path


def with_base(run: Run) -> Run:
    """Return the task of a run for the finished run that `base` names, recorded beside it.

    Raise UserError.
    """
    folder = Path(run.base)
    record = load_record(folder)
    if record.status != "done":
        raise UserError(
            f"base={run.base} is {record.status}: name the folder of a finished run, as "
            "results/<suite>/runs/<run>",
            "no-records",
        )
    finished = run_from_dict(record.config)
    names = finished.names | {group: run.names[group] for group in LATER_GROUPS}
    own = {key: getattr(run, key) for key in OWN_KEYS}
    suite = (folder if len(folder.parts) > 3 else folder.resolve()).parents[1]
    return replace(finished, names=names, suite=suite.name, results=str(suite.parent), **own)


class Composer:
    """Hydra, with the configuration folders and the overrides of one command line."""

    def __init__(self, hydra: Any, name: str, overrides: list[str], folders: list[Path]) -> None:
        self.hydra, self.name, self.overrides, self.folders = hydra, name, overrides, folders
        self.loader = hydra.config_loader
        with self.user_errors():
            self.parsed = self.parse(overrides)
        self.fixed = [each.input_line or "" for each in self.parsed if each.is_hydra_override()]
        self.first_seeds: dict[tuple[str, ...], Run] = {}  # other overrides -> run of one seed

    def user_errors(self) -> AbstractContextManager[None]:
        """Raise UserError in place of what Hydra raises while it composes."""
        return raise_user_errors(ConfigOrigin(self.loader, self.name), self.folders)

    def parse(self, overrides: list[str]) -> list[Override]:
        """Parse overrides by Hydra's grammar."""
        return OverridesParser.create(config_loader=self.loader).parse_overrides(overrides)

    def job(self, overrides: Sequence[str]) -> Job:
        """Compose one run. Raise UserError.

        Runs that differ in their seed alone are composed once, which takes Hydra 0.1 s.
        """
        others = tuple(word for word in overrides if not SEED.fullmatch(word))
        seeds = [word for word in overrides if SEED.fullmatch(word)]
        if len(seeds) == 1 and others in self.first_seeds:
            run = deepcopy(self.first_seeds[others])
            run.seed = int(seeds[0].partition("=")[2])
            validate_run(run)
            return Job(run, tuple(overrides))
        config = self._compose([*overrides, *self.fixed], RunMode.RUN)
        choices = config.hydra.runtime.choices
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        run = run_from_config(config, choices)
        self._set_reward_model(run, overrides)
        if len(seeds) == 1 and not run.base and not USES_SEED.search(OmegaConf.to_yaml(config)):
            self.first_seeds[others] = run
        return Job(run, tuple(overrides))

    def _set_reward_model(self, run: Run, overrides: Sequence[str]) -> None:
        """Compose the YAML of another architecture of reward models. Raise UserError."""
        name = run.preference.reward.arch
        if not (run.preference.enabled and name):
            return
        words = [word for word in overrides if not ARCH.match(word)]
        config = self._compose([*words, f"arch={name}", *self.fixed], RunMode.RUN)
        with raise_user_errors():
            model = OmegaConf.to_container(config.arch, resolve=True, throw_on_missing=True)
        assert isinstance(model, dict)
        run.preference.reward.model = {str(key): value for key, value in model.items()}
        other = reward_run(run)
        assert other is not None
        validate_run(other)

    def master(self) -> Any:
        """Compose what all runs of a sweep share: its launcher and its sweeper."""
        return self._compose(self.overrides, RunMode.MULTIRUN)

    def _compose(self, overrides: Sequence[str], mode: RunMode) -> Any:
        try:
            return self.hydra.compose_config(self.name, list(overrides), run_mode=mode)
        except ValueError as error:  # Hydra's own, for a group whose choice is not a word
            word = next(filter(NOT_A_NAME.match, overrides), "")
            if not word or not str(error).startswith("Config group override"):
                raise
            raise UserError(
                f"{word} does not name a YAML: leave it out, or name one of "
                f"conf/{word.partition('=')[0]}",
                "unknown-choice",
            ) from None


def check_yaml_sizes(folders: Sequence[str]) -> None:
    """Raise UserError for a YAML that Hydra would take hours for: deep, or huge by its aliases."""
    for path in (path for folder in folders for path in sorted(Path(folder).rglob("*.yaml"))):
        # Hydra says what else is wrong with those that it reads
        with suppress(OSError, YAMLError, UnicodeDecodeError):
            text = read_text(path)
            try:
                parse_yaml(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} cannot be composed: {error}", "invalid-config") from None


@contextmanager
def open_hydra(arguments: Sequence[str]) -> Iterator[Composer]:
    """Open Hydra for a command line. Raise UserError."""
    register()
    args = parser().parse_args(arguments)
    folder = [] if args.config_dir is None else [os.path.abspath(args.config_dir)]
    if folder and not Path(folder[0]).is_dir():
        raise UserError(f"--config-dir {args.config_dir} is not a folder", "missing-file")
    given = [("--config-dir", Path(path)) for path in folder]
    sources = [("the project", conf_folder()), *installed_folders(), *given]
    check_unique_names(sources)
    check_yaml_sizes(folder)
    paths = [f"hydra.searchpath=[{quoted(f'file://{path}')}]" for path in folder]
    overrides = [*args.overrides, *paths]
    name = args.config_name or "config"
    with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="bench"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield Composer(hydra, name, overrides, [path for _, path in sources])
