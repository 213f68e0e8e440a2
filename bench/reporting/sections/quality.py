"""The tables of quality: bits per byte of causal models, pseudo-perplexity of encoders."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.baselines import BaselineLine, Baselines
from bench.analysis.formatting import format_bytes, format_fixed, format_large, format_number
from bench.analysis.sessions import RATES, MeasuredSession
from bench.reporting.html_table import (
    EMPTY,
    Cell,
    Column,
    Table,
    build_table,
    error_cell,
    metric_column,
    value_cell,
)
from bench.reporting.variant_cells import PARAMETERS, SEEDS, VARIANT, further_columns

MEASURED = (*RATES, "peak_train_memory_bytes", "state_bytes")
ABOUT_RATE = "Median; below it the ratio to the reference in the same rounds."
ABOUT_SIZE = "Below it the ratio to the smallest."
HANDLED = {"bits_per_byte", "perplexity", "parameters"}


def likelihood_table(
    name: str,
    rows: pd.DataFrame,
    session: MeasuredSession | None,
    baselines: Baselines,
    means: pd.DataFrame,
) -> Table:
    """Return the table of causal models: bits per byte, measured costs, the baselines below."""
    best = float(rows.loc[~rows["control"], "bits_per_byte"].min())
    columns = [
        VARIANT,
        metric_column("bits_per_byte", partial(_score, best), "Mean and 95 % interval over seeds."),
        Column("seed spread", "standard deviation over seeds", _seed_spread),
        Column("to the best", "ratio of bits per byte to the lowest",
               lambda row: value_cell(row.bits_per_byte / best, format_fixed)),
        metric_column("perplexity", _perplexity),
        PARAMETERS,
        SEEDS,
        *further_columns("likelihood", means, HANDLED),
        *(_measured_columns(session) if session else []),
    ]  # fmt: skip
    table = build_table(name, columns, rows.itertuples())
    table.rows.extend(_baseline_row(line, best, len(columns)) for line in reversed(baselines.lines))
    table.notes.extend(_likelihood_notes(rows, baselines))
    return replace(table, caption=f"{_scored(rows)} Lower is better.")


def _likelihood_notes(rows: pd.DataFrame, baselines: Baselines) -> list[str]:
    """Return what the intervals rest on, and what the baselines are or why there are none."""
    notes = sorted({_basis_note(row) for row in rows.itertuples()})
    notes += [f"{line.name}: {line.note}." for line in reversed(baselines.lines)]
    return notes + ([f"No baselines: {baselines.reason}."] if baselines.reason else [])


def _seed_spread(row: Any) -> Cell:
    return value_cell(row.bits_per_byte_seed_deviation, lambda value: format_fixed(value, 4))


def _perplexity(row: Any) -> Cell:
    return value_cell(row.perplexity, lambda value: format_number(value, 4))


def _score(best: float, row: Any) -> Cell:
    low, high = row.bits_per_byte_low, row.bits_per_byte_high
    span = f"{format_fixed(low)} to {format_fixed(high)}" if math.isfinite(low) else ""
    mark = "best" if row.bits_per_byte == best else ""
    return value_cell(row.bits_per_byte, format_fixed, span, mark)


def _measured_columns(session: MeasuredSession) -> list[Column]:
    return [
        metric_column(
            metric,
            partial(_measured_cell, session, metric),
            ABOUT_RATE if metric in RATES else ABOUT_SIZE,
        )
        for metric in MEASURED
        if metric in session.medians
    ]


def _measured_cell(session: MeasuredSession, metric: str, row: Any) -> Cell:
    """Return a median and its ratio: of a rate to the reference, of a size to the smallest."""
    subject = str(row.subject)
    value, reason = session.value(subject, metric), session.missing_reason(subject, metric)
    if metric in RATES:
        ratio = session.ratios.get((subject, metric))
        small = f"×{format_fixed(ratio.value)}" if ratio else ""
        small = "the reference" if subject == session.reference else small
        small = small if session.allows_claim(metric) else "no claim today"
        return value_cell(value, format_large, small, reason=reason)
    least = session.medians[metric].min()
    small = f"×{format_number(value / least)}" if least > 0 else ""
    return value_cell(value, format_bytes, small, reason=reason)


def _baseline_row(line: BaselineLine, best: float, width: int) -> list[Cell]:
    shown = [
        Cell(line.name, line.name, badges=("baseline",)),
        value_cell(line.bits_per_byte, format_fixed),
        EMPTY,
        value_cell(line.bits_per_byte / best, format_fixed),
        _perplexity(line),
    ]
    return [*shown, *[EMPTY] * (width - len(shown))]


def _scored(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    part, protocol = first["part"] or "held-out", first["protocol"] or "an unnamed protocol"
    return f"Scored on the {part} part by {protocol}."


def _basis_note(row: Any) -> str:
    basis = row.bits_per_byte_basis
    if basis == "seeds and documents":
        return (
            "Intervals cover two sources of variance: seeds (t) and held-out documents. Rows share "
            "their documents, so the interval of a difference is narrower than these."
        )
    if basis == "nothing":
        return "One seed and no nats per document: no interval can be given."
    unsampled = ": seeds were not sampled, another seed may differ by more"
    tail = unsampled if basis == "documents" else ""
    return f"Where noted so, intervals cover the variance of {basis} only{tail}."


def encoder_table(name: str, rows: pd.DataFrame, means: pd.DataFrame) -> Table:
    """Return the table of encoders: pseudo-perplexity, never beside a likelihood."""
    best = float(rows["pseudo_perplexity"].min())
    regret = Column(
        "regret, left to right",
        "nats per token above the best possible, on the sampled windows; ± over them",
        lambda row: error_cell(
            row.left_to_right_regret, row.left_to_right_regret_standard_error, format_fixed
        ),
    )
    columns = [
        VARIANT,
        metric_column("pseudo_perplexity", _pseudo, "± over the sampled positions."),
        Column("to the best", "ratio to the lowest of this table",
               lambda row: value_cell(row.pseudo_perplexity / best, format_fixed)),
        *([regret] if rows["left_to_right_regret"].notna().any() else []),
        PARAMETERS,
        SEEDS,
        *further_columns("pseudo_likelihood", means, {"pseudo_perplexity"}),
    ]  # fmt: skip
    caption = f"{_scored(rows)} Not a likelihood."
    heading = "Pseudo-perplexity, in a table of its own"
    return build_table(name, columns, rows.itertuples(), caption=caption, heading=heading)


def _pseudo(row: Any) -> Cell:
    error = format_number(row.pseudo_perplexity_standard_error, 2)
    return value_cell(row.pseudo_perplexity, lambda value: format_number(value, 4), f"± {error}")
