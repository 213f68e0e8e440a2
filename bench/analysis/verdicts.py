"""Verdicts: for each pair of a table one of three sentences, and what they rest on."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.aggregate import Tables
from bench.analysis.formatting import NONE, count, fixed, listed, number
from bench.analysis.rows import each
from bench.reporting.html_table import Cell, Table
from bench.stats import pairwise
from bench.stats.intervals import Numbers
from bench.stats.pairwise import BETTER, DECIDES, SAME, Arms

FEW = 10.0  # documents of equal size: an interval over fewer is a rough guess
SHOWN = 210  # pairs on the page, those of 21 rows; verdicts.csv has them all
FOLDED = 28  # more pairs than these are folded away
ROWS_ONLY = "Over documents only: seeds were not sampled, another seed may differ by more."


@dataclass(frozen=True)
class Verdicts:
    """What may be said of the pairs of one table of bits per byte."""

    pairs: pd.DataFrame  # a row a pair, the best first: what `pairs.judge` says, with labels, rows of the summary and sentences
    notes: tuple[str, ...]  # what the intervals rest on, and what they lack

    def of(self, row: int) -> pd.DataFrame:
        """The pairs of one row of the summary, the control's aside."""
        table = self.pairs
        return table[~table["control"] & ((table["row"] == row) | (table["other_row"] == row))]

    @property
    def control(self) -> pd.DataFrame:
        return self.pairs[self.pairs["control"]]


def verdicts(table: pd.DataFrame, tables: Tables) -> Verdicts:
    """Judge every pair of rows of a table of bits per byte; a row of the A/A control only against its own architecture."""
    return judged(table, _arms([int(str(row)) for row in table.index], tables))


def judged(table: pd.DataFrame, arms: Arms) -> Verdicts:
    """The verdicts on the rows of a table, of which `arms` holds the seeds and the nats."""
    rows = [int(str(row)) for row in table.index]
    found = pairwise.judge(arms, _twins(table))
    labels = [str(label) for label in table["label"]]
    for end, name in (("first", ""), ("second", "other_")):
        found[f"{name}row"] = [rows[place] for place in found[end]]
        found[f"{name}label"] = [labels[place] for place in found[end]]
    found["sentence"] = [sentence(pair) for pair in each(found)]
    found = found.sort_values(["control", "first", "second"], kind="stable").reset_index(drop=True)
    return Verdicts(found, tuple(_notes(found, arms, labels, _twins(table))))


def _arms(rows: list[int], tables: Tables) -> Arms:
    """The seeds of each row, and its nats on the documents that all rows were scored on."""
    runs = tables.runs[(tables.runs["status"] == "done") & tables.runs["row"].isin(rows)]
    groups = {
        int(str(row)): column.dropna().to_numpy(dtype=float)
        for row, column in runs.groupby("row")["bits_per_byte"]
    }
    seeds: list[Numbers] = [groups.get(row, np.empty(0)) for row in rows]
    known = tables.documents[tables.documents.index.get_level_values("row").isin(rows)]
    if known.empty:
        return Arms(seeds, np.empty((len(rows), 0)), np.empty(0))
    sizes = known["bytes"].groupby(level="document").agg(["min", "max"])
    nats = known["nats"].unstack("document").reindex(rows).to_numpy(dtype=float)
    if (
        sizes["min"] != sizes["max"]
    ).any():  # one number names different documents: nothing can be paired
        nats[:] = np.nan
    return Arms(seeds, nats, sizes["max"].to_numpy(dtype=float))


def _twins(table: pd.DataFrame) -> list[tuple[int, int]]:
    """The places of each row of the A/A control, and of the row that it repeats."""
    places = list(enumerate(each(table)))
    real = {row.variant: place for place, row in places if not row.control}
    return [
        (real[row.variant], place) for place, row in places if row.control and row.variant in real
    ]


# --- sentences --------------------------------------------------------------------------------------------------------


def exact(value: float, half: float) -> str:
    """A difference to as many places as its error gives sense to, three at least."""
    return fixed(value, _places(half))


def _places(half: float) -> int:
    return min(6, max(3, math.ceil(-math.log10(half)))) if half > 0 and math.isfinite(half) else 3


def gap(pair: object) -> str:
    """By how much: 0.031 ± 0.006."""
    difference, half = (
        float(getattr(pair, "difference", math.nan)),
        float(getattr(pair, "half", math.nan)),
    )
    return f"{exact(difference, half)} ± {exact(half, half)}"


def unsettled(pair: object) -> str:
    """What could have been seen, and what would settle what was seen."""
    detectable, difference = (
        float(getattr(pair, "detectable", math.nan)),
        float(getattr(pair, "difference", math.nan)),
    )
    needed, half = float(getattr(pair, "needed", math.nan)), float(getattr(pair, "half", math.nan))
    seen, target = exact(detectable, half), exact(difference, half / 10)
    if getattr(pair, "basis", "") == "documents":
        return f"could have seen {seen}"
    if math.isfinite(needed):
        return f"could have seen {seen}; about {needed:.0f} seeds would settle {target}"
    return f"could have seen {seen}; up to {pairwise.MOST:,} seeds would not settle so small a difference, more held-out text may"


def sentence(pair: object) -> str:
    """The verdict: one of three sentences, or that there is none and why."""
    label, other = str(getattr(pair, "label", "")), str(getattr(pair, "other_label", ""))
    kind, wins = getattr(pair, "kind", ""), float(getattr(pair, "wins", math.nan))
    if kind == BETTER:
        said = f"{label} is better by {gap(pair)} bits per byte"
    elif kind == DECIDES:
        said = f"{label} is better on average, but one seed decides (P = {wins:.1f})"
    elif kind == SAME:
        said = f"not distinguishable ({unsettled(pair)})"
    else:
        said = (
            f"no verdict on {label} and {other}: one seed each, and no nats of the same documents"
        )
    return said + (", over documents only" if getattr(pair, "basis", "") == "documents" else "")


def _notes(
    found: pd.DataFrame, arms: Arms, labels: list[str], twins: list[tuple[int, int]]
) -> list[str]:
    said = []
    family = int((~found["control"]).sum())
    if family:
        said.append(
            f"Claims hold together at 95 %: Holm’s correction over {family:,} pair{'s' if family > 1 else ''}. "
            "± is the 95 % interval of the one pair. “Could have seen”: the difference that is found 4 times in 5."
        )
    if (found["basis"] == "documents").any():
        said.append(ROWS_ONLY)
    if (found["basis"] == "seeds").any():
        said.append(
            "Over seeds only, where nats of the same documents were not kept: other text may differ by more."
        )
    if 0 < (worth := pairwise.worth(arms.sizes)) < FEW:
        said.append(
            f"Too few documents: the {len(arms.sizes):,} scored ones, of unequal length, count as {number(worth, 2)} equal ones. "
            "Take the intervals as a rough guess."
        )
    again = np.zeros(len(labels), dtype=bool)
    again[[second for _, second in twins]] = True
    spread = pairwise.spread(arms.seeds, ~again)
    odd = [
        label
        for label, inside, apart in zip(labels, spread.pool, again, strict=True)
        if not inside and not apart
    ]
    if odd:
        said.append(
            f"The seeds of {listed(odd)} spread unlike those of the others (F test, 1 %): judged by their own spread."
        )
    return said


# --- the page's table -------------------------------------------------------------------------------------------------


def tabulate(name: str, found: Verdicts) -> Table:
    """The verdicts as a table of the page: the pairs of the best rows first."""
    rows = []
    for pair in each(found.pairs.head(SHOWN)):
        same, known = pair.kind == SAME, math.isfinite(pair.half)
        names = f"{pair.label} · {pair.other_label}"
        rows.append(
            [
                Cell(names, names, badges=("A/A control",) if pair.control else ()),
                Cell(pair.sentence, pair.kind, mark="words"),
                Cell(
                    exact(pair.difference, pair.half),
                    pair.difference,
                    f"± {exact(pair.half, pair.half)}" if known else "",
                ),
                Cell(fixed(pair.wins, 2), pair.wins if math.isfinite(pair.wins) else None),
                Cell(exact(pair.detectable, pair.half), pair.detectable if known else None),
                Cell(
                    count(pair.needed) if same and pair.basis != "documents" else NONE,
                    pair.needed if same else None,
                ),
            ]
        )
    columns = [
        ("pair", "the lower mean first"),
        ("verdict", "one of three: better, one seed decides, not distinguishable"),
        ("difference", "of mean bits per byte; below it half of its 95 % interval"),
        ("P", "how often a seed of the first beats a seed of the second"),
        ("could have seen", "the difference that would be found 4 times in 5"),
        ("seeds to settle", "an architecture, for the difference that was seen"),
    ]
    left = len(found.pairs) - len(rows)
    notes = [*found.notes, *([f"{left:,} further pairs: see verdicts.csv."] if left > 0 else [])]
    folded = f"The verdicts on {len(rows):,} pairs" if len(rows) > FOLDED else ""
    return Table(
        name,
        "Is one better than the other, by how much, and how sure?",
        columns,
        rows,
        notes,
        "Verdicts",
        folded,
    )
