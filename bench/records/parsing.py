"""Read the YAML files of records, which may be broken or hostile. Imports no torch."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bench.system.files import read_text

MAX_CONFIG_VALUES = 100_000  # of a YAML once its aliases are followed
MAX_DEPTH = 200  # levels of a YAML
TOP_LEVEL_KEY = re.compile(r"(?m)^(?=[^\s\-#])")
# several documents, or an anchor that another block may use
NOT_SEPARABLE = re.compile(r"(?m)^(---|%|\.\.\.)|(^|[\s\[{,])[&*!]\w")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built


def read_config(path: Path) -> Any:
    """Return the content of a YAML file; None where it is missing, broken or too large."""
    try:
        return _parse_blocks(read_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _parse_blocks(text: str) -> Any:
    """Parse a YAML text by top-level blocks: most recur in many runs, and are parsed once."""
    if NOT_SEPARABLE.search(text):
        return parse_yaml(text)
    tree: dict[str, Any] = {}
    for block in TOP_LEVEL_KEY.split(text):
        part = _parse_block(block) if block.strip() else {}
        if not isinstance(part, dict):
            return parse_yaml(text)
        tree |= part
    return tree


@lru_cache(maxsize=4096)
def _parse_block(text: str) -> Any:
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text. Raise ValueError where it is deep, or huge by aliases."""
    _check_depth(text)
    tree = yaml.load(text, Loader=LOADER)
    if _count_values(tree, {}) > MAX_CONFIG_VALUES:
        raise ValueError(f"it stands for more than {MAX_CONFIG_VALUES:,} values")
    return tree


def _check_depth(text: str) -> None:
    """Raise ValueError for a deep YAML, which would exhaust the stack of the loader in C."""
    brackets, longest = text.count("[") + text.count("{"), max(map(len, text.split("\n")))
    if brackets <= MAX_DEPTH and longest <= MAX_DEPTH:  # it cannot be deeper than both together
        return
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"it has more than {MAX_DEPTH} levels")


def _count_values(tree: Any, counts: dict[int, int]) -> int:
    """Return how many values a tree has where each alias counts as what it stands for."""
    if not isinstance(tree, dict | list):
        return 1
    if id(tree) not in counts:
        children = tree.values() if isinstance(tree, dict) else tree
        counts[id(tree)] = 1 + sum(_count_values(child, counts) for child in children)
    return counts[id(tree)]
