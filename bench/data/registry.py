"""Find the data sources: every class of a folder that names itself."""

import importlib
import pkgutil
from typing import Any, ClassVar

from bench.config.errors import UserError, nearest


class Registered:
    """Base class that enters its named subclasses into the registry of their family.

    A family is a direct subclass; `class Hub(Source, name="hub")` registers a member of one.
    """

    members: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, name: str = "") -> None:
        if Registered in cls.__bases__:
            cls.members = {}
        if name:
            cls.members[name] = cls


def member(family: type[Registered], package: str, key: str, name: str) -> Any:
    """Return the class that `name` names, after importing every module of `package`.

    Raise UserError, with the configuration key, where there is none.
    """
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    if name not in family.members:
        raise UserError(
            f"{key}={name} is unknown; {nearest(name, family.members)}", "unknown-choice"
        )
    return family.members[name]
