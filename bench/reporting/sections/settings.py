"""All settings of each row, and the command that trains it again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench.analysis.comparisons import Comparison

Pairs = list[tuple[str, str]]
# of the command, not of what is trained
NO_SETTINGS = ("results", "suite", "again", "figures", "dry")


class RowSettings(NamedTuple):
    """What a row was trained with, apart from what all rows share."""

    label: str
    command: str
    settings: Pairs


def row_settings(parts: Sequence[Comparison]) -> tuple[Pairs, dict[str, list[RowSettings]]]:
    """Return the settings that all rows share, and by architecture the others of each row."""
    rows = [
        (part, row, run, _settings(run.config)) for part in parts for row, run in _first_runs(part)
    ]
    shared = set.intersection(*(set(own.items()) for *_, own in rows)) if len(rows) > 1 else set()
    cards: dict[str, list[RowSettings]] = {}
    for part, row, run, own in rows:
        label = part.title if len(parts) > 1 else str(row.label)
        settings = [pair for pair in own.items() if pair not in shared]
        cards.setdefault(str(row.arch), []).append(RowSettings(label, _command(run), settings))
    return sorted(shared), cards


def _first_runs(part: Comparison) -> Iterator[tuple[Any, Any]]:
    """Yield each row but the A/A controls, with its first finished run."""
    runs = part.runs.sort_values("seed").drop_duplicates("row").set_index("row")
    for row in part.rows[~part.rows["control"].astype(bool)].itertuples():
        yield row, next(runs.loc[[row.Index]].itertuples())


def _command(run: Any) -> str:
    """Return the command that trains a finished run again."""
    return str(run.rerun or run.provenance.get("command", "")).replace("=failed", "=all")


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(_flatten({key: one for key, one in config.items() if key not in NO_SETTINGS}))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and key != "card":
            yield from _flatten(value, f"{prefix}{key}.")
        elif key != "card":
            yield f"{prefix}{key}", "" if value is None else str(value)
