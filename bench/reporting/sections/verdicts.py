"""The verdict on each pair of a table of bits per byte, as a table."""

import math
from typing import Any

from bench.analysis.formatting import NO_VALUE, format_count, format_fixed
from bench.analysis.verdicts import Verdicts, format_difference
from bench.reporting.html_table import Cell, Column, Table, build_table, value_cell, words_cell
from bench.stats.pairwise import NOT_DISTINGUISHABLE

MAX_SHOWN_PAIRS = 210  # of 21 rows; verdicts.csv has them all
MAX_UNFOLDED_PAIRS = 28


def verdict_table(name: str, verdicts: Verdicts) -> Table:
    """Return the verdicts as a table: the pairs of the best rows first."""
    columns = [
        Column("pair", "the lower mean first", _pair),
        Column("verdict", "better, one seed decides, or not distinguishable",
               lambda pair: words_cell(pair.sentence, pair.kind)),
        Column("difference", "of mean bits per byte; ± half of its 95 % interval", _difference),
        Column("P", "probability that a seed of the first beats a seed of the second",
               lambda pair: value_cell(pair.wins, lambda value: format_fixed(value, 2))),
        Column("could have seen", "the difference that is detected 4 times in 5", _detectable),
        Column("seeds to settle", "per architecture, for the observed difference", _needed),
    ]  # fmt: skip
    shown = verdicts.pairs.head(MAX_SHOWN_PAIRS)
    left = len(verdicts.pairs) - len(shown)
    folded = f"The verdicts on {len(shown):,} pairs" if len(shown) > MAX_UNFOLDED_PAIRS else ""
    return build_table(
        name,
        columns,
        shown.itertuples(),
        caption="Is one better than the other, by how much, and how sure is that?",
        notes=[*verdicts.notes, *[f"{left:,} further pairs: see verdicts.csv."] * (left > 0)],
        heading="Verdicts",
        folded=folded,
    )


def _pair(pair: Any) -> Cell:
    names = f"{pair.label} · {pair.other_label}"
    return Cell(names, names, badges=("A/A control",) * bool(pair.control))


def _difference(pair: Any) -> Cell:
    finite = math.isfinite(pair.half)
    small = f"± {format_difference(pair.half, pair.half)}" if finite else ""
    return Cell(format_difference(pair.difference, pair.half), pair.difference, small)


def _detectable(pair: Any) -> Cell:
    return value_cell(pair.detectable, lambda value: format_difference(value, pair.half))


def _needed(pair: Any) -> Cell:
    if pair.kind != NOT_DISTINGUISHABLE:
        return Cell(NO_VALUE)
    text = format_count(pair.needed) if pair.basis != "documents" else NO_VALUE
    return Cell(text, pair.needed)
