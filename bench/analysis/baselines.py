"""Reference lines: scores of baselines without an architecture on the same scored text."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.families import contenders
from bench.records.metrics import PRETRAINED
from bench.records.tables import Records

NAN = float("nan")
MARKS = {PRETRAINED: ", pre-trained elsewhere"}  # behind the name, by context
BOUNDED = ("none", "windows")  # no more context than the rows have
SCORES = ("bits_per_byte", "perplexity", "validation_nats")


class BaselineLine(NamedTuple):
    """A reference line: its scores, NaN where it has none."""

    name: str
    note: str
    # none | windows: as much as the rows have | unlimited | pretrained: windows of its own tokens
    context: str
    as_read: bool = False  # counted on what a run read, not on the whole training part
    training_tokens: float = NAN  # that it is counted on
    bits_per_byte: float = NAN
    perplexity: float = NAN
    validation_nats: float = NAN

    @property
    def pretrained(self) -> bool:
        """Return whether it is a checkpoint that was trained elsewhere."""
        return self.context == PRETRAINED


class Baselines(NamedTuple):
    """The reference lines of a table, the highest first, or why there are none."""

    lines: tuple[BaselineLine, ...]
    reason: str

    @property
    def best(self) -> BaselineLine | None:
        """Return the lowest of those with no more context and text than the rows had.

        Where none is counted on what the rows read, it is of those on the whole training part.
        """
        bounded = [line for line in self.lines if line.context in BOUNDED]
        return _lowest([line for line in bounded if line.as_read] or bounded)

    @property
    def best_of_all_text(self) -> BaselineLine | None:
        """Return the same of those that are counted on the whole training part."""
        bounded = (line for line in self.lines if line.context in BOUNDED)
        return _lowest(line for line in bounded if not line.as_read)

    @property
    def lowest(self) -> BaselineLine | None:
        """Return the lowest line that this text alone made, whatever context it has."""
        own = (line for line in self.lines if not line.pretrained)
        return _lowest(line for line in own if line.bits_per_byte == line.bits_per_byte)


def _lowest(lines: Iterable[BaselineLine]) -> BaselineLine | None:
    return min(lines, key=lambda line: line.bits_per_byte, default=None)


def select_baselines(records: Records, rows: pd.DataFrame, orders: Collection[str]) -> Baselines:
    """Return the lines of the text, part and context that a table of rows was scored on.

    `orders`: digests of the orders of blocks that the rows' runs read.
    """
    wanted = {
        **{name: rows[name].iloc[0] for name in ("data_digest", "text_digest")},
        "part": rows["part"].iloc[0],
        "context": int(rows["context"].iloc[0]),
    }
    matching = [one for one in records.baselines if _is_of(one, wanted, orders)]
    if not matching:
        return Baselines((), "the command that trained these runs made none")
    windows = str(rows["protocol"].iloc[0]) == f"chunk({wanted['context']})"
    lines = [line for one in matching for line in _parse_lines(one)]
    kept = [line for line in lines if windows or line.context in ("none", "unlimited")]
    reasons = dict.fromkeys(str(one.get("reason") or "") for one in matching)
    return Baselines(
        tuple(sorted(kept, key=lambda line: -line.bits_per_byte)), "; ".join(filter(None, reasons))
    )


def _is_of(one: Mapping[str, Any], wanted: Mapping[str, Any], orders: Collection[str]) -> bool:
    """Tell whether a record is of a table's text: of its tokens, or of a checkpoint's own."""
    order, other = one.get("order_digest") or "", "text_digest"
    if one.get("text_digest"):
        other = "data_digest"
    keys = wanted.keys() - {other}
    return all(one.get(key) == wanted[key] for key in keys) and (not order or order in orders)


def _parse_lines(one: Mapping[str, Any]) -> Iterator[BaselineLine]:
    """Yield the lines of a record. What counts nothing is the same on any training text."""
    as_read = bool(one.get("order_digest"))
    tokens = float(one.get("training_tokens") or NAN)
    for entry in one.get("lines", []):
        values = {metric["name"]: float(metric["values"][0]) for metric in entry["metrics"]}
        scores = [values.get(name, NAN) for name in SCORES]
        mark = ", as read" if as_read else MARKS.get(entry["context"], "")
        name = f"{entry['name']}{mark}"
        if not as_read or entry["name"] != "uniform":
            yield BaselineLine(name, entry["note"], entry["context"], as_read, tokens, *scores)


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
