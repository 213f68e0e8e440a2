"""Reference lines: scores of baselines without an architecture on the same scored text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.families import contenders
from bench.records.tables import Records

NAN = float("nan")
SCORES = ("bits_per_byte", "perplexity", "validation_nats")


class BaselineLine(NamedTuple):
    """A reference line: its scores, NaN where it has none."""

    name: str
    note: str
    bits_per_byte: float
    perplexity: float
    validation_nats: float
    context: str  # none | windows: as much as the rows have | unlimited


class Baselines(NamedTuple):
    """The reference lines of a table, the highest first, or why there are none."""

    lines: tuple[BaselineLine, ...]
    reason: str

    @property
    def best(self) -> BaselineLine | None:
        """Return the lowest of those with no more context than the rows."""
        return min(
            (line for line in self.lines if line.context != "unlimited"),
            key=lambda line: line.bits_per_byte,
            default=None,
        )


def select_baselines(records: Records, rows: pd.DataFrame) -> Baselines:
    """Return the lines of the text, part and context that a table of rows was scored on."""
    wanted = {
        "data_digest": rows["data_digest"].iloc[0],
        "part": rows["part"].iloc[0],
        "context": int(rows["context"].iloc[0]),
    }
    for one in records.baselines:
        if all(one.get(key) == value for key, value in wanted.items()):
            lines = [_parse_baseline(entry) for entry in one.get("lines", [])]
            windows = str(rows["protocol"].iloc[0]) == f"chunk({wanted['context']})"
            kept = [line for line in lines if windows or line.context != "windows"]
            return Baselines(
                tuple(sorted(kept, key=lambda line: -line.bits_per_byte)),
                str(one.get("reason", "")),
            )
    return Baselines((), "the command that trained these runs made none")


def _parse_baseline(entry: Mapping[str, Any]) -> BaselineLine:
    values = {metric["name"]: float(metric["values"][0]) for metric in entry["metrics"]}
    scores = {name: values.get(name, NAN) for name in SCORES}
    return BaselineLine(entry["name"], entry["note"], **scores, context=entry["context"])


class BaselineSplit(NamedTuple):
    """The labels of rows clearly better than a baseline, clearly worse, and neither."""

    better: list[str]
    worse: list[str]
    unclear: list[str]


def split_by_baseline(table: pd.DataFrame, baselines: Baselines) -> BaselineSplit | None:
    """Split the rows by the best baseline with their context; None without one."""
    if (best := baselines.best) is None:
        return None
    rows = contenders(table)
    better = rows["bits_per_byte_high"].fillna(rows["bits_per_byte"]) < best.bits_per_byte
    worse = rows["bits_per_byte_low"].fillna(rows["bits_per_byte"]) > best.bits_per_byte
    parts = (better, worse, ~better & ~worse)
    return BaselineSplit(*([*rows.loc[part, "label"].map(str)] for part in parts))
