"""Parse a command line, and check its overrides before and after Hydra composes them."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Glob, Override

from bench.config.errors import UserError, nearest
from bench.config.schema import Run

GROUPS = (
    "arch", "data", "size", "objective", "train", "optimizer", "measure", "task", "preference",
)  # fmt: skip
HELP = "python -m bench.run --help lists the choices"
LAUNCHER_HELP = (
    "conf/hydra/launcher/*.yaml list a launcher's keys, and --cfg hydra all keys of Hydra"
)
# keys that a command gives a finished run to start from; the others are the run's own
OWN_KEYS = ("task", "preference", "base", "again", "threads", "figures", "dry")
OPEN_KEYS = ("arch", "data.parts", "task.parts")  # keys below these are the user's own


def parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's own flags; it raises UserError."""

    def error(message: str) -> NoReturn:
        raise UserError(f"{message}: {HELP}", "invalid-command")

    made = get_args_parser()
    made.error = error  # type: ignore[method-assign]
    return made


def quoted(value: object) -> str:
    """Return a value in Hydra's grammar: in quotes where it has a character that is special."""
    if re.fullmatch(r"[\w./-]+", str(value)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def check_overrides(overrides: Sequence[Override]) -> None:
    """Raise UserError for an override without a key, or one that `base` excludes."""
    for override in overrides:
        if not override.key_or_group:
            raise UserError(f"{override.input_line} has no key: write key=value", "invalid-command")
        if override.key_or_group in (*GROUPS, "suite"):
            _check_choice(override)
    keys = [override.key_or_group for override in overrides if not override.is_hydra_override()]
    if "base" in keys:
        _check_own_keys(keys)


def _check_choice(override: Override) -> None:
    """Raise UserError for a list, or the name of a file, in place of a YAML's name."""
    group, text = override.key_or_group, (override.input_line or "").partition("=")[2]
    if isinstance(override.value(), list):
        raise UserError(
            f"{group}={text} is a list, and a run has one {group}: write "
            f"{group}={text.strip('[]')} -m to run them all",
            "invalid-value",
        )
    if (name := re.sub(r"\.ya?ml\b", "", text)) != text:
        name = re.sub(rf"([\w.-]+/)*{group}/", "", name)
        raise UserError(
            f"{group}={text}: leave out the ending of the YAML: {group}={name}", "unknown-choice"
        )


def _check_own_keys(keys: Iterable[str]) -> None:
    for key in keys:
        if key.partition(".")[0] not in OWN_KEYS:
            raise UserError(
                f"base= names a finished run, whose {key} is what it was trained with: leave {key} "
                "out",
                "conflicting-values",
            )


def check_sweep_values(
    overrides: Sequence[Override], choices: Callable[[str], Sequence[str]]
) -> None:
    """Raise UserError for a sweep without discrete values. `choices` returns those of a group."""
    for override in overrides:
        line = override.input_line or ""
        if not override.is_sweep_override():
            continue
        if not override.is_discrete_sweep():
            raise UserError(
                f"{line} lists no discrete values: list them, or use range(first,end)",
                "invalid-command",
            )
        if not any(True for _ in override.sweep_string_iterator()):
            globbed = isinstance(override.value(), Glob)
            then = nearest("", choices(override.key_or_group)) if globbed else "give at least one"
            raise UserError(f"{line} matches nothing; {then}", "unknown-choice")


def check_keys(tree: Mapping[str, Any]) -> None:
    """Raise UserError for a key that no run has, which passes Hydra only with a + in front."""
    if tree.get("names"):
        key = next(iter(tree["names"]))
        raise UserError(f"names.{key} is set by the command: leave it out", "unknown-key")
    keys = dict(dotted_keys(asdict(Run())))
    for key, _ in dotted_keys(tree):
        if key not in keys and not any(key.startswith(f"{name}.") for name in OPEN_KEYS):
            raise unknown_key(key, keys)


def unknown_key(key: str, keys: Iterable[str]) -> UserError:
    advice = LAUNCHER_HELP if key.startswith("hydra.") else nearest(key, keys)
    advice = HELP if advice.startswith("known") else advice
    return UserError(f"{key} is not a key; {advice}", "unknown-key")


def dotted_keys(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, and those inside of it after it."""
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from dotted_keys(value, f"{prefix}{key}.")
