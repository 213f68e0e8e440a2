"""Reference lines beside scores: what needs no architecture reaches on the same scored text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.formatting import fixed, listed
from bench.records.tables import Records

NAN = float("nan")


class Floor(NamedTuple):
    """A reference line: what it reaches, NaN where it has no such number."""

    name: str
    note: str
    bits_per_byte: float
    perplexity: float
    validation_nats: float
    context: str  # none | windows: as much as the rows may see | unlimited


class Floors(NamedTuple):
    """The reference lines of a table, the highest first, or why there are none."""

    lines: tuple[Floor, ...]
    reason: str

    @property
    def best(self) -> Floor | None:
        """The lowest that saw no more than the rows did."""
        return min(
            (line for line in self.lines if line.context != "unlimited"),
            key=lambda line: line.bits_per_byte,
            default=None,
        )


def floors(records: Records, rows: pd.DataFrame) -> Floors:
    """The lines of the text, part and context that a table of rows was scored on."""
    wanted = {
        "data_digest": rows["data_digest"].iloc[0],
        "part": rows["part"].iloc[0],
        "context": int(rows["context"].iloc[0]),
    }
    for one in records.references:
        if all(one.get(key) == value for key, value in wanted.items()):
            lines = [_floor(entry) for entry in one.get("lines", [])]
            windows = str(rows["protocol"].iloc[0]) == f"chunk({wanted['context']})"
            kept = [line for line in lines if windows or line.context != "windows"]
            return Floors(
                tuple(sorted(kept, key=lambda line: -line.bits_per_byte)),
                str(one.get("reason", "")),
            )
    return Floors((), "the command that trained these runs made none")


def _floor(entry: Mapping[str, Any]) -> Floor:
    values = {metric["name"]: float(metric["values"][0]) for metric in entry["metrics"]}
    score, perplexity, validation = (
        values.get(name, NAN) for name in ("bits_per_byte", "perplexity", "validation_nats")
    )
    return Floor(entry["name"], entry["note"], score, perplexity, validation, entry["context"])


def within(
    found: Floors, column: str, low: float, high: float, room: float = 0.6
) -> tuple[list[tuple[str, float]], str]:
    """The lines that fit into a figure that shows low … high, and a sentence about those that do not."""
    there = [
        (line.name, value) for line in found.lines if (value := getattr(line, column)) == value
    ]
    span = max(high - low, 1e-9)
    drawn = [
        (name, value) for name, value in there if low - room * span <= value <= high + room * span
    ]
    off = [f"{name} {fixed(value)}" for name, value in there if (name, value) not in drawn]
    return drawn, f"Reference lines off the scale: {listed(off)}." if off else ""
