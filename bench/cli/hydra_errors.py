"""What Hydra, OmegaConf and YAML refuse, in one plain line. Imports no torch."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.cli import launchers
from bench.config.errors import UserError, nearest
from bench.config.schema import Run
from bench.config.validation import CHOICES

GROUPS = ("arch", "data", "size", "objective", "train", "optimizer", "measure")
HELP = "python -m bench.run --help lists what there is"
HYDRA_HELP = (
    "conf/hydra/launcher/*.yaml list what a launcher takes, and --cfg hydra all that is Hydra's"
)
OPEN = ("arch", "data.parts")  # keys below these are the user's own


# --- before Hydra looks -----------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Hydra's own flags; what it can not take is a UserError."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}: {HELP}")

    made = get_args_parser()
    made.error = refuse  # type: ignore[method-assign]
    return made


def check_overrides(overrides: Sequence[Override]) -> None:
    """Raise UserError for a word without a key."""
    for override in overrides:
        if not override.key_or_group:
            raise UserError(f"{override.input_line} has no key: write key=value")


def check_sweep_values(
    overrides: Sequence[Override], options: Callable[[str], Sequence[str]]
) -> None:
    """Raise UserError for a sweep that has no values to be gone through one by one. `options`: of a group."""
    for override in overrides:
        line = override.input_line or ""
        if not override.is_sweep_override():
            continue
        if not override.is_discrete_sweep():
            raise UserError(
                f"{line} names no values one by one: list them, or take range(first,behind)"
            )
        if not any(True for _ in override.sweep_string_iterator()):
            globbed = isinstance(override.value(), Glob)
            then = (
                nearest("", options(override.key_or_group)) if globbed else "name one value or more"
            )
            raise UserError(f"{line} names nothing; {then}")


def check_keys(tree: Mapping[str, Any]) -> None:
    """Raise UserError for a key that no run has, which only a + in front of it brings past Hydra."""
    if tree.get("names"):
        raise UserError(
            f"names.{next(iter(tree['names']))} is filled in by the bench: leave it out"
        )
    known = dict(_dotted(asdict(Run())))
    for key, _ in _dotted(tree):
        if key not in known and not any(key.startswith(f"{name}.") for name in OPEN):
            raise UserError(_unknown(key, known))


# --- what Hydra said --------------------------------------------------------------------------------------------------


@contextmanager
def raise_user_errors(
    loader: Any = None, name: str = "config", folders: Iterable[Path] = ()
) -> Iterator[None]:
    """Turn what Hydra, OmegaConf and YAML raise into a UserError of one line. `folders`: that the YAMLs lie in."""
    try:
        yield
    except yaml.YAMLError as error:
        raise UserError(_broken(error)) from None
    except UnicodeDecodeError as error:
        raise UserError(_not_text(folders, error)) from None
    except OverrideParseException as error:
        raise UserError(_unread(error.override)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explained(error, loader, name)) from None


def _broken(error: yaml.YAMLError) -> str:
    """A YAML that is none: where, and what."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    where = f"{mark.name}, line {mark.line + 1}" if mark else "a YAML"
    return f"{where}: no YAML ({problem}): mend it there, or just before"


def _not_text(folders: Iterable[Path], error: UnicodeDecodeError) -> str:
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError as found:
            return f"{path}: byte {found.start} is no UTF-8: save the file in that encoding"
    return f"a YAML is not written in UTF-8 ({error.reason}): save it in that encoding"


def _unread(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        return f"{word} is no key=value"
    if value[:1] in "'\"" and value:
        return f"{word} can not be read: close its quotes, once for Hydra and once for the shell"
    return f"{word} can not be read: put a value with signs in it into quotes of its own, as in '{key}=\"{value}\"'"


def _explained(error: Exception, loader: Any, name: str) -> str:
    text = "\n".join([str(error), str(error.__cause__ or "")])
    for pattern, say in SAID:
        if found := re.search(pattern, text, re.DOTALL):
            return say(found, loader, name)
    said = [*str(error).splitlines()[:2], *str(error.__cause__ or "").splitlines()[:1]]
    lines = dict.fromkeys(
        line.strip() for line in said if line.strip() and not line.startswith("See http")
    )
    return ": ".join(lines) if lines else type(error).__name__


def _no_yaml(found: re.Match, loader: Any, name: str) -> str:
    """Of a group, a name that there is not; the name may hold slashes."""
    parts = found.group(1).split("/")
    at = 2 if parts[0] == "hydra" else 1
    group, word = "/".join(parts[:at]), "/".join(parts[at:])
    if group == "hydra/launcher" and (plug_in := launchers.missing_plugin(word)):
        return plug_in
    known = loader.get_group_options(group) if loader else ()
    return f"{group}={word} is not known; {nearest(word, known) if known else HELP}"


def _no_plug_in(found: re.Match, loader: Any, name: str) -> str:
    """A launcher's YAML that builds on one which its plug-in would bring."""
    outer, inner = found.groups()
    return (
        launchers.missing_plugin(outer)
        or launchers.missing_plugin(inner)
        or f"hydra/launcher={outer} builds on {inner}, which is not there"
    )


def _no_key(found: re.Match, loader: Any, name: str) -> str:
    key, at, place = found.group(1).partition("@")
    if at:
        return f"{found.group(1)}: leave @{place} out, a group has its place"
    if key in (known := _keys(loader, name)):
        return f"{key} takes one name of a YAML; its own keys are given one by one, {key}.…=…"
    return _unknown(key, known)


def _no_key_below(found: re.Match, loader: Any, name: str) -> str:
    full = re.search(r"full_key: (\S+)", found.string)
    key = full.group(1) if full else found.group(1)
    return _unknown(key, _keys(loader, name))


def _several(found: re.Match, loader: Any, name: str) -> str:
    key = (found.group(1) or found.group(2)).partition("=")[0]
    told = f"{key} names several values: add -m to run them all"
    free = isinstance(dict(_dotted(asdict(Run()))).get(key), str) and key not in CHOICES
    return told + (
        f"; a comma that belongs to one value is quoted, as in '{key}=\"a,b\"'"
        if free and key != "suite"
        else ""
    )


def _wrong_value(found: re.Match, loader: Any, name: str) -> str:
    """An override that composes, and whose value the key does not take."""
    word, why = found.group(1), " ".join(found.group(2).split())
    key = word.lstrip("+~").partition("=")[0]
    for pattern, advice in (
        ("is not Optional", f"{key} can not be empty: leave it out, or give a value"),
        ("Cannot convert '(list|dict)' to string", f"{key} takes one word"),
        ("is not a ListConfig", f"{key} takes a list, as in {key}=[1,2]"),
        (r"to Dict\[", f"{key} takes names with values, as in {key}={{name: value}}"),
        ("does not support deletion", f"every run needs {key}: leave that out"),
    ):
        if re.search(pattern, why):
            return f"{word}: {advice}"
    return f"{word}: {why.partition(' full_key:')[0]}"


def _taken_away(found: re.Match, loader: Any, name: str) -> str:
    group = found.group(1)
    known = ", ".join(sorted(loader.get_group_options(group))) if loader else ""
    return f"every run needs one {group}, by its name: leave ~{group} out, or give one of {known}"


Say = Callable[[re.Match, Any, str], str]
SAID: tuple[
    tuple[str, Say], ...
] = (  # the first pattern that is found in what was raised, and the line to say instead
    (r"In 'hydra/launcher/([^']+)': Could not load 'hydra/launcher/([^']+)'", _no_plug_in),
    (r"Could not find '([^']+)'", _no_yaml),
    (r"(?:Could not override|You must specify) '([^']+)'", _no_key),
    (r"Could not delete from config\. '([^']+)'", _no_key),
    (r"Missing key .*full_key: hydra\.runtime\.choices\.(\w+)", _taken_away),
    (r"Key '([^']+)' not in '\w+'", _no_key_below),
    (
        r"(Value .+?)\s+full_key: (\S+)",
        lambda found, *_: f"{found[2]}: {' '.join(found[1].split()).lower()}",
    ),
    (r"Error merging override ([^\n]+)\n?(.*)", _wrong_value),
    (
        r"Missing mandatory value.* full_key: (\S+)",
        lambda found, *_: f"{found[1]} has no value: give one",
    ),
    (
        r"(Interpolation key .+?|\w+ raised while resolving .+?)\s+full_key: (\S+)",
        lambda found, *_: f"{found[2]}: {found[1]}",
    ),
    (
        r"In '(\S+/\S+)': .*raised while composing config:\s*([^\n]*)",
        lambda found, *_: _no_mapping(found),
    ),
    (r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)'", _several),
    (
        r"Multiple values for (\w+)\.|^(\w+) appears more than once",
        lambda found, *_: (
            f"a run has one {found[1] or found[2]} already: leave the + in front of it out"
        ),
    ),
)


def _no_mapping(found: re.Match) -> str:
    why = "it is a list" if "ListConfig" in found[2] else found[2].strip(": ")
    return f"{found[1]}.yaml can not be taken in ({why}): it has to hold lines of key: value"


def _unknown(key: str, known: Iterable[str]) -> str:
    if key.startswith("hydra."):
        return f"{key} is no key; {HYDRA_HELP}"
    said = nearest(key, known)
    return f"{key} is no key; {said if said.startswith('did') else HELP}"


def _keys(loader: Any, name: str) -> list[str]:
    """Every group and every dotted key of the default configuration."""
    if loader is None:
        return []
    config = loader.load_configuration(name, [], run_mode=RunMode.RUN)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return [*GROUPS, "suite", *(key for key, _ in _dotted(OmegaConf.to_container(config)))]


def _dotted(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, those inside others after them."""
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
