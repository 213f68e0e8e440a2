"""Turn what Hydra, OmegaConf and YAML raise into one plain line. Imports no torch."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.cli import launchers
from bench.cli.overrides import GROUPS, HELP, dotted_keys, unknown_key
from bench.config.errors import UserError, nearest
from bench.config.schema import Run
from bench.config.validation import CHOICES


class ConfigOrigin(NamedTuple):
    """The configuration that an error came from: Hydra's loader, and the name of the root YAML."""

    loader: Any = None
    name: str = "config"

    def choices(self, group: str) -> list[str]:
        return list(self.loader.get_group_options(group)) if self.loader else []

    def keys(self) -> list[str]:
        """Return every group and every dotted key of the default configuration."""
        if self.loader is None:
            return []
        config = self.loader.load_configuration(self.name, [], run_mode=RunMode.RUN)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return [*GROUPS, "suite", *(key for key, _ in dotted_keys(OmegaConf.to_container(config)))]


@contextmanager
def raise_user_errors(
    origin: ConfigOrigin | None = None, folders: Iterable[Path] = ()
) -> Iterator[None]:
    """Raise UserError in place of errors of Hydra, OmegaConf and YAML. `folders` hold the YAMLs."""
    try:
        yield
    except yaml.YAMLError as error:
        raise UserError(_yaml_message(error), "invalid-config") from None
    except UnicodeDecodeError as error:
        raise UserError(_encoding_message(folders, error), "invalid-config") from None
    except OverrideParseException as error:
        raise UserError(_override_message(error.override), "invalid-command") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, origin or ConfigOrigin()) from None


def _yaml_message(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    place = f"{mark.name}, line {mark.line + 1}" if mark else "a YAML"
    return f"{place}: invalid YAML ({problem}): correct that line or the one before"


def _encoding_message(folders: Iterable[Path], error: UnicodeDecodeError) -> str:
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError as invalid:
            return f"{path}: byte {invalid.start} is not UTF-8: save the file in that encoding"
    return f"a YAML is not UTF-8 ({error.reason}): save it in that encoding"


def _override_message(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override} is not key=value"
    if value[:1] in ("'", '"'):
        return f"{override}: unbalanced quotes: quote once for Hydra and once for the shell"
    return f"{override}: put a value with special characters into quotes, as in '{key}=\"{value}\"'"


def _explain(error: Exception, origin: ConfigOrigin) -> UserError:
    text = "\n".join([str(error), str(error.__cause__ or "")])
    for pattern, explain in EXPLANATIONS:
        if match := re.search(pattern, text, re.DOTALL):
            explained = explain(match, origin)
            invalid = UserError(str(explained), "invalid-value")
            return explained if isinstance(explained, UserError) else invalid
    lines = [*str(error).splitlines()[:2], *str(error.__cause__ or "").splitlines()[:1]]
    kept = dict.fromkeys(
        line.strip() for line in lines if line.strip() and not line.startswith("See http")
    )
    return UserError(": ".join(kept) or type(error).__name__, "invalid-config")


def _unknown_choice(match: re.Match, origin: ConfigOrigin) -> UserError:
    """Explain a YAML that its group does not hold; the name may hold slashes."""
    parts = match[1].split("/")
    at = 2 if parts[0] == "hydra" else 1
    group, name = "/".join(parts[:at]), "/".join(parts[at:])
    if group == "hydra/launcher" and (message := launchers.missing_plugin(name)):
        return UserError(message, "missing-package")
    choices = origin.choices(group)
    then = nearest(name, choices) if choices else HELP
    return UserError(f"{group}={name} is unknown; {then}", "unknown-choice")


def _missing_base(match: re.Match, origin: ConfigOrigin) -> UserError:
    """Explain a launcher's YAML that extends one which a plug-in would bring."""
    name, base = match.groups()
    message = launchers.missing_plugin(name) or launchers.missing_plugin(base)
    if message:
        return UserError(message, "missing-package")
    message = f"hydra/launcher={name} extends {base}, which does not exist"
    return UserError(message, "invalid-config")


def _no_override(match: re.Match, origin: ConfigOrigin) -> UserError:
    key, at, package = match[1].partition("@")
    if at:
        return UserError(f"{match[1]}: leave @{package} out: groups have a place", "unknown-key")
    if key in (keys := origin.keys()):
        message = f"{key} takes the name of one YAML; set its keys one by one, {key}.…=…"
        return UserError(message, "invalid-value")
    return unknown_key(key, keys)


def _no_key_below(match: re.Match, origin: ConfigOrigin) -> UserError:
    full = re.search(r"full_key: (\S+)", match.string)
    return unknown_key(full[1] if full else match[1], origin.keys())


def _several_values(match: re.Match, origin: ConfigOrigin) -> UserError:
    key = (match[1] or match[2]).partition("=")[0]
    message = f"{key} has several values: add -m to run them all"
    free_text = isinstance(dict(dotted_keys(asdict(Run()))).get(key), str) and key not in CHOICES
    if free_text and key != "suite":
        message += f"; quote a comma that belongs to one value, as in '{key}=\"a,b\"'"
    return UserError(message, "invalid-command")


WRONG_VALUES = (
    ("is not Optional", "{key} cannot be empty: leave it out, or give a value"),
    ("Cannot convert '(list|dict)' to string", "{key} takes one word"),
    ("is not a ListConfig", "{key} takes a list, as in {key}=[1,2]"),
    (r"to Dict\[", "{key} takes names with values, as in {key}={{name: value}}"),
    ("does not support deletion", "every run needs {key}: leave that out"),
)


def _wrong_value(match: re.Match, origin: ConfigOrigin) -> str:
    """Explain an override that composes, with a value that its key does not take."""
    override, reason = match[1], " ".join(match[2].split())
    key = override.lstrip("+~").partition("=")[0]
    for pattern, advice in WRONG_VALUES:
        if re.search(pattern, reason):
            return f"{override}: {advice.format(key=key)}"
    return f"{override}: {reason.partition(' full_key:')[0]}"


def _deleted_group(match: re.Match, origin: ConfigOrigin) -> str:
    group, choices = match[1], ", ".join(sorted(origin.choices(match[1])))
    return f"every run needs one {group}: leave ~{group} out, or give one of {choices}"


def _not_a_mapping(match: re.Match, origin: ConfigOrigin) -> UserError:
    reason = "it is a list" if "ListConfig" in match[2] else match[2].strip(": ")
    message = f"{match[1]}.yaml cannot be composed ({reason}): it has to hold lines of key: value"
    return UserError(message, "invalid-config")


def _appears_twice(match: re.Match, origin: ConfigOrigin) -> UserError:
    message = f"a run has one {match[1] or match[2]} already: leave the + in front of it out"
    return UserError(message, "conflicting-values")


def _not_whole(match: re.Match, origin: ConfigOrigin) -> str:
    value, key = float(match[1]), match[2]
    example = f": write {key}={value:.0f}" if value.is_integer() else ""
    return f"{key} takes a whole number, not {match[1]}{example}"


Explain = Callable[[re.Match, ConfigOrigin], UserError | str]
# the first pattern that matches what was raised
EXPLANATIONS: tuple[tuple[str, Explain], ...] = (
    (r"In 'hydra/launcher/([^']+)': Could not load 'hydra/launcher/([^']+)'", _missing_base),
    (r"Could not find '([^']+)'", _unknown_choice),
    (r"(?:Could not override|You must specify) '([^']+)'", _no_override),
    (r"Could not delete from config\. '([^']+)'", _no_override),
    (r"Missing key .*full_key: hydra\.runtime\.choices\.(\w+)", _deleted_group),
    (r"Key '([^']+)' not in '\w+'", _no_key_below),
    (
        r"Value '([^']+)' of type 'float' could not be converted to Integer\s+full_key: (\S+)",
        _not_whole,
    ),
    (
        r"(Value .+?)\s+full_key: (\S+)",
        lambda match, _: f"{match[2]}: {' '.join(match[1].split()).lower()}",
    ),
    (r"Error merging override ([^\n]+)\n?(.*)", _wrong_value),
    (r"Missing mandatory value.* full_key: (\S+)", lambda match, _: f"{match[1]} has no value"),
    (
        r"(Interpolation key .+?|\w+ raised while resolving .+?)\s+full_key: (\S+)",
        lambda match, _: f"{match[2]}: {match[1]}",
    ),
    (r"In '(\S+/\S+)': .*raised while composing config:\s*([^\n]*)", _not_a_mapping),
    (r"Ambiguous value for argument '([^']+)'|Sweep parameters '([^']+)'", _several_values),
    (r"Multiple values for (\w+)\.|^(\w+) appears more than once", _appears_twice),
)
