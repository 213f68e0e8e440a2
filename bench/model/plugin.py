"""Find the class of an architecture and check its options."""

import importlib
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args, get_origin

from architectures.interface import Backbone
from bench.config.errors import UserError, nearest
from bench.config.plugins import install_hint
from bench.config.schema import constructor_options
from bench.model.process_state import ProcessChanged, unchanged_process
from bench.system.exits import ForcedExit

# whatever a plug-in may raise: sys.exit in it must not end the command, least of all with code 0
PLUGIN_ERRORS = (Exception, SystemExit)
TYPE_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
MAX_MESSAGE = 1000  # characters that are kept of an error of a plug-in


class ModelBuildError(UserError):
    """An architecture that cannot be built or trained: in a sweep its run fails alone."""

    def __init__(self, message: str, code: str = "invalid-architecture") -> None:
        super().__init__(message, code)


def backbone_class(arch: Mapping[str, Any]) -> type[Backbone]:
    """Return the class that `_target_` names, with its options checked.

    Raise UserError for a wrong option, ModelBuildError where the class cannot be imported.
    """
    target = str(arch["_target_"])
    module, _, name = target.rpartition(".")
    if not module:
        raise ModelBuildError(f"_target_: {target} names no module: write it as my_module.{target}")
    try:
        backbone = getattr(_import_module(module, target), name)
    except ModelBuildError:
        raise
    except PLUGIN_ERRORS as error:
        raise ModelBuildError(
            f"_target_: {target} cannot be imported: {describe_error(error)}{install_hint(error)}"
        ) from None
    if not (isinstance(backbone, type) and issubclass(backbone, Backbone)):
        raise ModelBuildError(
            f"_target_: {target} is not a subclass of architectures.interface.Backbone: "
            "derive it from that class"
        )
    _check_options(backbone, constructor_options(arch))
    return backbone


def _import_module(module: str, target: str) -> types.ModuleType:
    """Return a module. Raise ModelBuildError where its import changes the process."""
    if module in sys.modules:
        return sys.modules[module]
    try:
        with refuse_changes(f"_target_: the import of {target}", generators=True):
            return importlib.import_module(module)
    except ModelBuildError:
        sys.modules.pop(module, None)  # so that the next import is refused too
        raise


@contextmanager
def refuse_changes(subject: str, generators: bool = False) -> Iterator[None]:
    """Raise ModelBuildError where what runs inside changes the process, once that is undone."""
    try:
        with unchanged_process(subject, generators):
            yield
    except ProcessChanged as error:
        raise ModelBuildError(str(error), error.code) from None


def _check_options(backbone: type[Backbone], options: Mapping[str, Any]) -> None:
    """Raise UserError for an option that is unknown, missing or of another type."""
    named, takes_any = _own_parameters(backbone)
    for name, value in options.items():
        if name in ("width", "context"):
            raise UserError(
                f"arch.{name} is set by the harness: set size.parameters or size.context instead",
                "conflicting-values",
            )
        if name in named:
            _check_type(f"arch.{name}", value, named[name].annotation)
        elif not takes_any:
            close = nearest(name, named)
            raise UserError(
                f"arch.{name} is not an option of {backbone.__name__}; {close}", "unknown-key"
            )
    required = (name for name, p in named.items() if p.default is p.empty)
    if missing := [name for name in required if name not in options]:
        raise UserError(
            f"{backbone.__name__} needs arch.{missing[0]}: add it to its YAML", "invalid-config"
        )


def _own_parameters(backbone: type[Backbone]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the named options of a constructor, and whether it takes any others."""
    kinds = inspect.Parameter
    # the harness gives the first two, width and context
    parameters = list(inspect.signature(backbone).parameters.values())[2:]
    variadic = (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    named = {p.name: p for p in parameters if p.kind not in variadic}
    return named, any(p.kind is kinds.VAR_KEYWORD for p in parameters)


def _check_type(path: str, value: Any, kind: Any) -> None:
    """Raise UserError where a value does not fit int, float, bool, str or Literal."""
    if get_origin(kind) is Literal and value not in get_args(kind):
        choices = nearest(str(value), map(str, get_args(kind)))
        raise UserError(f"{path}={value} is not known; {choices}", "unknown-choice")
    accepted = (int, float) if kind is float else kind
    if kind in TYPE_NAMES and not (
        isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    ):
        raise UserError(f"{path}={value} must be {TYPE_NAMES[kind]}", "invalid-value")


def build_error(backbone: type[Backbone], width: int, error: BaseException) -> ModelBuildError:
    """Return the error of a constructor that raised."""
    reason = f"{describe_error(error)}{install_hint(error)}"
    return ModelBuildError(f"{backbone.__name__} of width {width} cannot be built: {reason}")


def describe_error(error: BaseException) -> str:
    """Return an exception of a plug-in in one line."""
    text = one_line(error)
    if isinstance(error, SystemExit):
        function = "os._exit" if isinstance(error, ForcedExit) else "sys.exit"
        text = f"it called {function}({'' if error.code is None else error.code})"
    return f"{type(error).__name__}: {text[:300]}"


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line, up to a length that a terminal can show."""
    return " ".join(str(error)[:MAX_MESSAGE].split()) or "no message"
