"""The page's tables as rows of cells: what is shown, what is sorted by, and the small print under it."""

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bench.analysis.baselines import Baseline, Baselines
from bench.analysis.formatting import (
    NO_VALUE,
    format_bytes,
    format_count,
    format_fixed,
    format_large,
    format_number,
)
from bench.analysis.rows import each
from bench.analysis.sessions import RATES, MeasuredSession

MAX_UNUSED_BUDGET = 0.03  # a larger share of the budget left unused is marked
TITLES = {
    "train_tokens_per_second": "train tokens/s",
    "prefill_tokens_per_second": "prefill tokens/s",
    "decode_tokens_per_second": "decode tokens/s",
    "peak_train_memory_bytes": "peak memory",
    "state_bytes": "state",
}
ABOUT = {
    "rate": "median; below it the ratio to the reference in the same rounds",
    "size": "below it the ratio to the least",
}


@dataclass(frozen=True)
class Cell:
    """One cell. `value` is what the column is sorted by; None sorts last."""

    text: str
    value: float | str | None = None
    small: str = ""
    mark: str = ""  # best | bad | ""
    why: str = ""
    colour: int | None = None
    badges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    name: str
    caption: str
    columns: list[tuple[str, str]]  # title, explanation
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    heading: str = ""
    folded: str = ""  # what stands on the fold, where the table is folded away


def _value(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def name_cell(row: Any) -> Cell:
    """Who: the label, its colour, its number in figures, and what has to be known at once."""
    badges = (
        *(("stale",) if row.stale else ()),
        *(("lossy",) if row.lossy else ()),
        *(("A/A control",) if row.control else ()),
        *(("UNTUNED",) if row.untuned else ()),
    )
    small = [str(row.family), *([f"in figures: {row.short}"] if row.short != row.label else [])]
    return Cell(
        row.label,
        row.label,
        small=" · ".join(word for word in small if word),
        colour=int(row.colour),
        badges=badges,
    )


def _parameters(row: Any) -> Cell:
    slack = row.budget_slack
    wasted = math.isfinite(slack) and slack > MAX_UNUSED_BUDGET
    notes = [f"{100 * slack:.1f} % unused"] if wasted else []
    if row.parameters_active < row.parameters:  # false where an older record does not say
        notes.append(f"{format_count(row.parameters_active)} active")
    return Cell(
        format_count(row.parameters),
        _value(row.parameters),
        ", ".join(notes),
        "bad" if wasted else "",
    )


def seeds_cell(row: Any) -> Cell:
    missing = row.seeds < row.seeds_asked
    return Cell(
        f"{row.seeds} of {row.seeds_asked}" if missing else str(row.seeds),
        float(row.seeds),
        mark="bad" if missing else "",
    )


def likelihood_table(
    name: str,
    rows: pd.DataFrame,
    sitting: MeasuredSession | None,
    floors: Baselines,
) -> Table:
    """Causal rows: bits per byte, then what the one sitting measured; under them the reference lines."""
    best = rows.loc[~rows["control"], "bits_per_byte"].min()
    columns = [
        ("architecture", "a row is a variant; seeds are averaged"),
        ("bits per byte", "mean over seeds; below it the 95 % interval"),
        ("seed spread", "standard deviation over seeds"),
        ("to the best", "ratio of bits per byte to the lowest"),
        ("perplexity", "per token, on the same held-out text"),
        ("parameters", "all of them, embeddings included"),
        ("seeds", "finished seeds"),
    ]
    measured = [metric for metric in TITLES if sitting is not None and metric in sitting.medians]
    columns += [
        (TITLES[metric], ABOUT["rate" if metric in RATES else "size"]) for metric in measured
    ]
    cells = []
    for row in each(rows):
        span = (
            f"{format_fixed(row.bits_per_byte_low)} to {format_fixed(row.bits_per_byte_high)}"
            if math.isfinite(row.bits_per_byte_low)
            else ""
        )
        first = row.bits_per_byte == best
        line = [
            name_cell(row),
            Cell(
                format_fixed(row.bits_per_byte),
                _value(row.bits_per_byte),
                span,
                "best" if first else "",
            ),
            Cell(
                format_fixed(row.bits_per_byte_seed_deviation, 4),
                _value(row.bits_per_byte_seed_deviation),
            ),
            Cell(format_fixed(row.bits_per_byte / best), _value(row.bits_per_byte / best)),
            Cell(format_number(row.perplexity, 4), _value(row.perplexity)),
            _parameters(row),
            seeds_cell(row),
        ]
        cells.append(
            line + [speed_cell(str(row.subject), metric, sitting) for metric in measured if sitting]
        )
    cells += [_reference(line, best, len(columns)) for line in reversed(floors.lines)]
    notes = sorted({_basis(row) for row in each(rows)})
    notes += [f"{line.name}: {line.note}." for line in reversed(floors.lines)]
    notes += [f"No reference lines: {floors.reason}."] if floors.reason else []
    caption = _scored(rows) + " Lower is better."
    return Table(name, caption, columns, cells, notes)


def _reference(line: Baseline, best: float, width: int) -> list[Cell]:
    """A reference line as a row: what has no architecture has neither seeds nor costs."""
    shown = [
        Cell(line.name, line.name, badges=("reference",)),
        Cell(format_fixed(line.bits_per_byte), _value(line.bits_per_byte)),
        Cell(NO_VALUE),
        Cell(format_fixed(line.bits_per_byte / best), _value(line.bits_per_byte / best)),
        Cell(format_number(line.perplexity, 4), _value(line.perplexity)),
    ]
    return [*shown, *[Cell(NO_VALUE)] * (width - len(shown))]


def _scored(rows: pd.DataFrame) -> str:
    return f"Scored on the {rows['part'].iloc[0] or 'held-out'} part by {rows['protocol'].iloc[0] or 'an unnamed protocol'}."


def _basis(row: Any) -> str:
    if row.bits_per_byte_basis == "seeds and documents":
        return (
            "Intervals hold two sources of variance, seeds (t) and held-out documents. Rows share their documents, so the "
            "interval of a difference is narrower than these."
        )
    if row.bits_per_byte_basis == "nothing":
        return "One seed and no nats per document: no interval can be given."
    return f"Where noted so, intervals hold the variance of {row.bits_per_byte_basis} only" + (
        ": seeds were not sampled, another seed may differ by more."
        if row.bits_per_byte_basis == "documents"
        else "."
    )


def _left_to_right(row: Any) -> Cell:
    """How far a likelihood from left to right lies above the best possible."""
    value = row.left_to_right_regret
    return (
        Cell(
            format_fixed(value), value, f"± {format_fixed(row.left_to_right_regret_standard_error)}"
        )
        if value == value
        else Cell(NO_VALUE)
    )


def encoder_table(name: str, rows: pd.DataFrame) -> Table:
    """Encoders: pseudo-perplexity, in a table of its own."""
    columns = [
        ("architecture", "reads in both directions"),
        (
            "pseudo-perplexity",
            "one position hidden at a time; below it the standard error of the sampled positions",
        ),
        ("to the best", "ratio to the lowest of this table"),
        ("parameters", "all of them, embeddings included"),
        ("seeds", "finished seeds"),
    ]
    floored = bool(rows["left_to_right_regret"].notna().any())
    if floored:
        columns.insert(
            3,
            (
                "regret, left to right",
                "nats per token above the best possible, on the sampled windows; ± over them",
            ),
        )
    best = rows["pseudo_perplexity"].min()
    cells = [
        [
            name_cell(row),
            Cell(
                format_number(row.pseudo_perplexity, 4),
                _value(row.pseudo_perplexity),
                f"± {format_number(row.pseudo_perplexity_standard_error, 2)}",
            ),
            Cell(format_fixed(row.pseudo_perplexity / best), _value(row.pseudo_perplexity / best)),
            *([_left_to_right(row)] if floored else []),
            _parameters(row),
            seeds_cell(row),
        ]
        for row in each(rows)
    ]
    caption = _scored(rows) + " Not a likelihood."
    return Table(name, caption, columns, cells, heading="Pseudo-perplexity, apart")


def speed_cell(subject: str, metric: str, sitting: MeasuredSession) -> Cell:
    """A median and its ratio: of a rate to the reference, of a size to the least; a dash keeps its reason."""
    value = sitting.value(subject, metric)
    if not math.isfinite(value):
        return Cell(NO_VALUE, None, why=sitting.missing_reason(subject, metric))
    if metric in RATES:
        ratio = sitting.ratios.get((subject, metric))
        small = (
            "the reference"
            if subject == sitting.reference
            else f"×{format_fixed(ratio.value)}"
            if ratio
            else ""
        )
        return Cell(
            format_large(value), value, small if sitting.allows_claim(metric) else "no claim today"
        )
    least = sitting.medians[metric].min()
    return Cell(format_bytes(value), value, f"×{format_number(value / least)}" if least > 0 else "")
