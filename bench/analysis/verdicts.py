"""Verdicts: for each pair of a table one of three sentences, and what they rest on."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.aggregate import VariantTables
from bench.analysis.formatting import (
    NO_VALUE,
    format_count,
    format_fixed,
    format_number,
    join_words,
)
from bench.analysis.rows import each
from bench.reporting.html_table import Cell, Table
from bench.stats import pairwise
from bench.stats.intervals import Numbers
from bench.stats.pairwise import BETTER, NOT_DISTINGUISHABLE, ONE_SEED_DECIDES, Groups

MIN_EFFECTIVE_DOCUMENTS = 10.0  # documents of equal size: an interval over fewer is a rough guess
MAX_SHOWN_PAIRS = 210  # pairs on the page, those of 21 rows; verdicts.csv has them all
MAX_UNFOLDED_PAIRS = 28  # more pairs than these are folded away
DOCUMENTS_ONLY_NOTE = (
    "Over documents only: seeds were not sampled, another seed may differ by more."
)


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


def build_verdicts(table: pd.DataFrame, tables: VariantTables) -> Verdicts:
    """Judge every pair of rows of a table of bits per byte; a row of the A/A control only against its own architecture."""
    return compare_groups(table, _build_groups([int(str(row)) for row in table.index], tables))


def compare_groups(table: pd.DataFrame, arms: Groups) -> Verdicts:
    """The verdicts on the rows of a table, of which `arms` holds the seeds and the nats."""
    rows = [int(str(row)) for row in table.index]
    found = pairwise.pairwise_tests(arms, _control_pairs(table))
    labels = [str(label) for label in table["label"]]
    for end, name in (("first", ""), ("second", "other_")):
        found[f"{name}row"] = [rows[place] for place in found[end]]
        found[f"{name}label"] = [labels[place] for place in found[end]]
    found["sentence"] = [verdict_sentence(pair) for pair in each(found)]
    found = found.sort_values(["control", "first", "second"], kind="stable").reset_index(drop=True)
    return Verdicts(found, tuple(_verdict_notes(found, arms, labels, _control_pairs(table))))


def _build_groups(rows: list[int], tables: VariantTables) -> Groups:
    """The seeds of each row, and its nats on the documents that all rows were scored on."""
    runs = tables.runs[(tables.runs["status"] == "done") & tables.runs["row"].isin(rows)]
    groups = {
        int(str(row)): column.dropna().to_numpy(dtype=float)
        for row, column in runs.groupby("row")["bits_per_byte"]
    }
    seeds: list[Numbers] = [groups.get(row, np.empty(0)) for row in rows]
    known = tables.documents[tables.documents.index.get_level_values("row").isin(rows)]
    if known.empty:
        return Groups(seeds, np.empty((len(rows), 0)), np.empty(0))
    sizes = known["bytes"].groupby(level="document").agg(["min", "max"])
    nats = known["nats"].unstack("document").reindex(rows).to_numpy(dtype=float)
    if (
        sizes["min"] != sizes["max"]
    ).any():  # one number names different documents: nothing can be paired
        nats[:] = np.nan
    return Groups(seeds, nats, sizes["max"].to_numpy(dtype=float))


def _control_pairs(table: pd.DataFrame) -> list[tuple[int, int]]:
    """The places of each row of the A/A control, and of the row that it repeats."""
    places = list(enumerate(each(table)))
    real = {row.variant: place for place, row in places if not row.control}
    return [
        (real[row.variant], place) for place, row in places if row.control and row.variant in real
    ]


# --- sentences --------------------------------------------------------------------------------------------------------


def format_difference(value: float, half: float) -> str:
    """A difference to as many places as its error gives sense to, three at least."""
    return format_fixed(value, _decimals(half))


def _decimals(half: float) -> int:
    return min(6, max(3, math.ceil(-math.log10(half)))) if half > 0 and math.isfinite(half) else 3


def difference_text(pair: object) -> str:
    """By how much: 0.031 ± 0.006."""
    difference, half = (
        float(getattr(pair, "difference", math.nan)),
        float(getattr(pair, "half", math.nan)),
    )
    return f"{format_difference(difference, half)} ± {format_difference(half, half)}"


def power_text(pair: object) -> str:
    """What could have been seen, and what would settle what was seen."""
    detectable, difference = (
        float(getattr(pair, "detectable", math.nan)),
        float(getattr(pair, "difference", math.nan)),
    )
    needed, half = float(getattr(pair, "needed", math.nan)), float(getattr(pair, "half", math.nan))
    seen, target = format_difference(detectable, half), format_difference(difference, half / 10)
    if getattr(pair, "basis", "") == "documents":
        return f"could have seen {seen}"
    if math.isfinite(needed):
        return f"could have seen {seen}; about {needed:.0f} seeds would settle {target}"
    return f"could have seen {seen}; up to {pairwise.MAX_SEEDS:,} seeds would not settle so small a difference, more held-out text may"


def verdict_sentence(pair: object) -> str:
    """The verdict: one of three sentences, or that there is none and why."""
    label, other = str(getattr(pair, "label", "")), str(getattr(pair, "other_label", ""))
    kind, wins = getattr(pair, "kind", ""), float(getattr(pair, "wins", math.nan))
    if kind == BETTER:
        said = f"{label} is better by {difference_text(pair)} bits per byte"
    elif kind == ONE_SEED_DECIDES:
        said = f"{label} is better on average, but one seed decides (P = {wins:.1f})"
    elif kind == NOT_DISTINGUISHABLE:
        said = f"not distinguishable ({power_text(pair)})"
    else:
        said = (
            f"no verdict on {label} and {other}: one seed each, and no nats of the same documents"
        )
    return said + (", over documents only" if getattr(pair, "basis", "") == "documents" else "")


def _verdict_notes(
    found: pd.DataFrame, arms: Groups, labels: list[str], twins: list[tuple[int, int]]
) -> list[str]:
    said = []
    family = int((~found["control"]).sum())
    if family:
        said.append(
            f"Claims hold together at 95 %: Holm’s correction over {family:,} pair{'s' if family > 1 else ''}. "
            "± is the 95 % interval of the one pair. “Could have seen”: the difference that is found 4 times in 5."
        )
    if (found["basis"] == "documents").any():
        said.append(DOCUMENTS_ONLY_NOTE)
    if (found["basis"] == "seeds").any():
        said.append(
            "Over seeds only, where nats of the same documents were not kept: other text may differ by more."
        )
    if 0 < (worth := pairwise.effective_n(arms.sizes)) < MIN_EFFECTIVE_DOCUMENTS:
        said.append(
            f"Too few documents: the {len(arms.sizes):,} scored ones, of unequal length, count as {format_number(worth, 2)} equal ones. "
            "Take the intervals as a rough guess."
        )
    again = np.zeros(len(labels), dtype=bool)
    again[[second for _, second in twins]] = True
    spread = pairwise.pool_seed_variance(arms.seeds, ~again)
    odd = [
        label
        for label, inside, apart in zip(labels, spread.pool, again, strict=True)
        if not inside and not apart
    ]
    if odd:
        said.append(
            f"The seeds of {join_words(odd)} spread unlike those of the others (F test, 1 %): judged by their own spread."
        )
    return said


# --- the page's table -------------------------------------------------------------------------------------------------


def verdict_table(name: str, found: Verdicts) -> Table:
    """The verdicts as a table of the page: the pairs of the best rows first."""
    rows = []
    for pair in each(found.pairs.head(MAX_SHOWN_PAIRS)):
        same, known = pair.kind == NOT_DISTINGUISHABLE, math.isfinite(pair.half)
        names = f"{pair.label} · {pair.other_label}"
        rows.append(
            [
                Cell(names, names, badges=("A/A control",) if pair.control else ()),
                Cell(pair.sentence, pair.kind, mark="words"),
                Cell(
                    format_difference(pair.difference, pair.half),
                    pair.difference,
                    f"± {format_difference(pair.half, pair.half)}" if known else "",
                ),
                Cell(format_fixed(pair.wins, 2), pair.wins if math.isfinite(pair.wins) else None),
                Cell(
                    format_difference(pair.detectable, pair.half),
                    pair.detectable if known else None,
                ),
                Cell(
                    format_count(pair.needed) if same and pair.basis != "documents" else NO_VALUE,
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
    folded = f"The verdicts on {len(rows):,} pairs" if len(rows) > MAX_UNFOLDED_PAIRS else ""
    return Table(
        name,
        "Is one better than the other, by how much, and how sure?",
        columns,
        rows,
        notes,
        "Verdicts",
        folded,
    )
