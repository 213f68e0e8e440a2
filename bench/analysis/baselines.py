"""Reference lines beside scores: what needs no architecture reaches on the same scored text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.formatting import format_fixed, join_words
from bench.records.tables import Records

NAN = float("nan")


class Baseline(NamedTuple):
    """A reference line: what it reaches, NaN where it has no such number."""

    name: str
    note: str
    bits_per_byte: float
    perplexity: float
    validation_nats: float
    context: str  # none | windows: as much as the rows may see | unlimited


class Baselines(NamedTuple):
    """The reference lines of a table, the highest first, or why there are none."""

    lines: tuple[Baseline, ...]
    reason: str

    @property
    def best(self) -> Baseline | None:
        """The lowest that saw no more than the rows did."""
        return min(
            (line for line in self.lines if line.context != "unlimited"),
            key=lambda line: line.bits_per_byte,
            default=None,
        )


def select_baselines(records: Records, rows: pd.DataFrame) -> Baselines:
    """The lines of the text, part and context that a table of rows was scored on."""
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


def _parse_baseline(entry: Mapping[str, Any]) -> Baseline:
    values = {metric["name"]: float(metric["values"][0]) for metric in entry["metrics"]}
    score, perplexity, validation = (
        values.get(name, NAN) for name in ("bits_per_byte", "perplexity", "validation_nats")
    )
    return Baseline(entry["name"], entry["note"], score, perplexity, validation, entry["context"])


def baselines_in_range(
    found: Baselines, column: str, low: float, high: float, room: float = 0.6
) -> tuple[list[tuple[str, float]], str]:
    """The lines that fit into a figure that shows low … high, and a sentence about those that do not."""
    there = [
        (line.name, value) for line in found.lines if (value := getattr(line, column)) == value
    ]
    span = max(high - low, 1e-9)
    drawn = [
        (name, value) for name, value in there if low - room * span <= value <= high + room * span
    ]
    off = [f"{name} {format_fixed(value)}" for name, value in there if (name, value) not in drawn]
    return drawn, f"Reference lines off the scale: {join_words(off)}." if off else ""
