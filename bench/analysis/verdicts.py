"""Verdicts: whether one row of a table is better than another, in one of three sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import stats
from bench.analysis.aggregate import VariantTables
from bench.analysis.formatting import format_fixed, format_number, format_p, join_words, plural
from bench.stats import BETTER, NOT_DISTINGUISHABLE, ONE_SEED_DECIDES, Groups

MIN_EFFECTIVE_DOCUMENTS = 10.0  # an interval over fewer documents of equal size is a rough guess
DOCUMENTS_ONLY_NOTE = (
    "Over documents only: seeds were not sampled, another seed may differ by more."
)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on the pairs of one table of bits per byte."""

    pairs: pd.DataFrame  # the best rows first: columns of `pairwise_tests`, labels, rows, sentence
    notes: tuple[str, ...]  # what the intervals rest on, and what they lack

    @property
    def family(self) -> pd.DataFrame:
        """Return the pairs without those of the A/A control."""
        return self.pairs[~self.pairs["control"]]

    def of(self, row: int) -> pd.DataFrame:
        """Return the pairs of one row of the summary without the A/A control."""
        return self.family[self.family[["row", "other_row"]].eq(row).any(axis=1)]

    @property
    def control(self) -> pd.DataFrame:
        """Return the pairs of the A/A control."""
        return self.pairs[self.pairs["control"]]


def build_verdicts(table: pd.DataFrame, variants: VariantTables) -> Verdicts:
    """Test every pair of rows of a table of likelihoods.

    A row of the A/A control is tested against its own architecture only.
    """
    groups = build_groups(table.index, variants, "bits_per_byte", variants.documents)
    return compare_groups(table, groups)


def seed_verdicts(table: pd.DataFrame, scores: Any) -> Verdicts:
    """Test every pair of rows by scores over seeds alone; `scores`: of runs, grouped by row."""
    seeds = [scores.get_group(row).dropna().to_numpy(dtype=float) for row in table.index]
    return compare_groups(table, Groups(seeds, np.empty((len(table), 0)), np.empty(0)))


def compare_groups(table: pd.DataFrame, groups: Groups) -> Verdicts:
    """Return the verdicts on the rows of a table, whose scores `groups` holds in the same order."""
    controls = control_pairs(table)
    pairs = stats.pairwise_tests(*groups, aa_pairs=controls)
    for end, name in (("first", ""), ("second", "other_")):
        rows = table.iloc[pairs[end]]
        pairs[f"{name}row"], pairs[f"{name}label"] = [*rows.index], [*rows["label"].map(str)]
    pairs["sentence"] = [verdict_sentence(pair) for pair in pairs.itertuples()]
    pairs = pairs.sort_values(["control", "first", "second"], kind="stable").reset_index(drop=True)
    labels = [str(label) for label in table["label"]]
    repeated = np.isin(np.arange(len(table)), [second for _, second in controls])
    return Verdicts(pairs, tuple(_verdict_notes(pairs, groups, labels, repeated)))


def build_groups(
    rows: "pd.Index[Any]", variants: VariantTables, score: str, documents: pd.DataFrame
) -> Groups:
    """Return the seeds of each row, and its nats on the documents that all rows were scored on."""
    scores = dict(iter(variants.finished(rows).dropna(subset=score).groupby("row")[score]))
    seeds = [np.asarray(scores.get(row, ()), dtype=float) for row in rows]
    documents = documents[documents.index.isin(rows, level="row")]
    if documents.empty:
        return Groups(seeds, np.empty((len(rows), 0)), np.empty(0))
    sizes = documents["bytes"].groupby(level="document").agg(["min", "max"])
    nats = documents["nats"].unstack("document").reindex(rows).to_numpy(dtype=float)
    if (sizes["min"] != sizes["max"]).any():  # different documents under one number: no pairs
        nats[:] = np.nan
    return Groups(seeds, nats, sizes["max"].to_numpy(dtype=float))


def control_pairs(table: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the places of each row of the A/A control: (the row it repeats, its own)."""
    rows = list(enumerate(zip(table["variant"], table["control"], strict=True)))
    originals = {variant: place for place, (variant, control) in rows if not control}
    return [
        (originals[variant], place)
        for place, (variant, control) in rows
        if control and variant in originals
    ]


# --- sentences ------------------------------------------------------------------------------------


def format_difference(value: float, half: float) -> str:
    """Format a difference to as many decimals as its error allows, three at least."""
    has_error = half > 0 and math.isfinite(half)
    return format_fixed(value, min(6, max(3, math.ceil(-math.log10(half)))) if has_error else 3)


def difference_text(pair: Any) -> str:
    """Return by how much: 0.031 ± 0.006."""
    halves = format_difference(pair.half, pair.half)
    return f"{format_difference(pair.difference, pair.half)} ± {halves}"


def power_text(pair: Any) -> str:
    """Return which difference would be detected, and how many seeds would settle the observed."""
    detectable = f"detectable: {format_difference(pair.detectable, pair.half)}"
    if pair.basis == "documents":
        return detectable
    if math.isfinite(pair.needed):
        target = format_difference(pair.difference, pair.half / 10)
        return f"{detectable}; about {pair.needed:.0f} seeds would settle {target}"
    return (
        f"{detectable}; {stats.MAX_SEEDS:,} seeds are too few for so small a difference, more "
        "held-out text may be needed"
    )


def wins_text(pair: Any) -> str:
    """Return how often a seed of the better row beats one of the other, beside the p value."""
    return f"share of seed pairs won {pair.wins:.2f}, Holm’s p {format_p(pair.adjusted)}"


def verdict_sentence(pair: Any) -> str:
    """Return the verdict on a pair as a sentence."""
    if pair.kind == BETTER:
        sentence = f"{pair.label} is better by {difference_text(pair)} bits per byte"
    elif pair.kind == ONE_SEED_DECIDES:
        sentence = f"{pair.label} is better on average, but one seed decides ({wins_text(pair)})"
    elif pair.kind == NOT_DISTINGUISHABLE:
        sentence = f"not distinguishable ({power_text(pair)})"
    else:
        sentence = (
            f"no verdict on {pair.label} and {pair.other_label}: one seed each, and no nats of "
            "the same documents"
        )
    return sentence + (", over documents only" if pair.basis == "documents" else "")


def _verdict_notes(
    pairs: pd.DataFrame, groups: Groups, labels: list[str], repeated: NDArray[np.bool_]
) -> list[str]:
    notes, family = [], int((~pairs["control"]).sum())
    if family:
        notes.append(
            f"Corrected for {plural(family, 'pair')} (Shaffer 1986): over many such tables at most "
            "5 % would hold a false claim. ± is the 95 % interval of the one pair. Detectable: the "
            "difference that is found 4 times in 5."
        )
    if (pairs["basis"] == "documents").any():
        notes.append(DOCUMENTS_ONLY_NOTE)
    if (pairs["basis"] == "seeds").any():
        notes.append(
            "Over seeds only, where nats of the same documents were not kept: other text may "
            "differ by more."
        )
    if 0 < (count := stats.effective_n(groups.sizes)) < MIN_EFFECTIVE_DOCUMENTS:
        notes.append(
            f"Too few documents: the {len(groups.sizes):,} scored ones, of unequal length, count "
            f"as {format_number(count, 2)} equal ones. Take the intervals as a rough guess."
        )
    return notes + _seed_notes(groups.seeds, labels, repeated)


def _seed_notes(
    seeds: Sequence[stats.Numbers], labels: list[str], repeated: NDArray[np.bool_]
) -> list[str]:
    """Say whose seeds are too few, or vary more than those of the others."""
    notes, counts = [], [len(scores) for scores in seeds]
    if max(counts, default=0) > 1 and 1 in counts:
        single = [label for label, count in zip(labels, counts, strict=True) if count == 1]
        notes.append(f"No claim about {join_words(single)}: one seed says nothing of its variance.")
    if 2 in counts:
        notes.append("Two seeds say next to nothing of a variance: three allow far more claims.")
    names = [label for label, again in zip(labels, repeated, strict=True) if not again]
    first = [scores for scores, again in zip(seeds, repeated, strict=True) if not again]
    if unsteady := [names[group] for group in stats.unsteady_groups(first)]:
        notes.append(
            f"The seeds of {join_words(unsteady)} vary far more than those of the others: "
            "intervals there rest on these seeds alone."
        )
    return notes
