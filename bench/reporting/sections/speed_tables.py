"""The table of speed: rates with their ratios to the reference."""

import math

from bench.analysis import efficiency
from bench.analysis.formatting import format_fixed, format_large
from bench.analysis.sessions import RATES, TRAIN_RATE
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import Cell, Table, registered_columns, value_cell
from bench.reporting.sections.measured import measured_cell, measured_table
from bench.reporting.sections.trust import CLOCKS, ratio_text
from bench.stats.intervals import Ratio


def speed_table(group: SpeedGroup) -> Table:
    """Return the rates with their ratios to the reference, by wall clock and CPU time."""
    session = group.session
    named = session.reference in group.names.index
    reference = group.label(session.reference) if named else "in another group"

    def cell(subject: str, metric: str) -> Cell:
        return (_rate_cell if metric in RATES else measured_cell)(group, subject, metric)

    caption = (
        f"Below each rate its ratio to the reference, {reference}, in the same rounds: "
        f"{ratio_text(session)}. {CLOCKS} Launch-bound: a larger batch is at least 15 % faster per "
        "token."
    )
    return measured_table(group, "speed", "Speed", list(registered_columns("speed", cell)), caption)


def _rate_cell(group: SpeedGroup, subject: str, metric: str) -> Cell:
    session = group.session
    ratios = (("", session.ratios.get((subject, metric))),
              ("CPU ", session.ratios.get((subject, RATES[metric]))))  # fmt: skip
    lines = [f"{clock}{_ratio_lines(ratio)}" for clock, ratio in ratios if ratio]
    gain = efficiency.batch_gain(session, subject, metric)
    lines += [f"{gain.text}: {gain.small}"] if gain else []
    busy = session.value(subject, "busy_share") if metric == TRAIN_RATE else math.nan
    lines += [f"busy {100 * busy:.0f} % of the time"] if math.isfinite(busy) else []
    value, reason = session.value(subject, metric), session.missing_reason(subject, metric)
    return value_cell(value, format_large, "\n".join(lines), reason=reason)


def _ratio_lines(ratio: Ratio) -> str:
    several = ratio.rounds > 1
    span = f" ({format_fixed(ratio.low)} to {format_fixed(ratio.high)})" if several else ""
    refusal = "" if ratio.agree or not several else "\nno claim: the mean disagrees"
    return f"×{format_fixed(ratio.value)}{span}{refusal}"
