"""List all configuration keys for the documentation."""

from dataclasses import MISSING
from typing import NamedTuple

from bench.config.fields import walk_fields
from bench.config.schema import Run


class ConfigRow(NamedTuple):
    """Describe one configuration key."""

    key: str
    type: str
    default: str
    allowed: str  # range or choices; empty: any value of the type
    help: str


def config_rows() -> list[ConfigRow]:
    """Return one row per configuration key, in the order of the schema."""
    rows = []
    for key, field in walk_fields(Run):
        within, choices = field.metadata["within"], field.metadata["choices"]
        default = field.default if field.default_factory is MISSING else field.default_factory()
        allowed = f"{within[0]:g} to {within[1]:g}" if within else ", ".join(choices)
        name = getattr(field.type, "__name__", str(field.type))
        kind = str(field.type) if "[" in str(field.type) or "|" in str(field.type) else name
        rows.append(ConfigRow(key, kind, str(default), allowed, field.metadata["help"]))
    return rows
