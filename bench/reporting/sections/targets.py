"""What it takes to reach a target, as a table; a row that missed it says so."""

import math
from collections.abc import Callable
from typing import Any

from bench.analysis.formatting import format_fixed, format_large, format_number
from bench.analysis.time_to_target import NATS, Target
from bench.reporting.html_table import Cell, Column, Table, build_table, name_column, value_cell

COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "tokens_to_target": ("training tokens", format_large),
    "flops_to_target": ("training FLOPs", format_large),
    "seconds_to_target": ("seconds", format_number),
}


def target_table(name: str, target: Target) -> Table:
    """Return the table of a target: who reached it, after how many tokens, FLOPs and seconds."""
    shown = [cost for cost in COSTS if target.rows[cost].notna().any()]
    columns = [
        name_column(lambda row: Cell(row.label, row.label), "the median over seeds"),
        Column("reached by", "seeds that reached the target at some validation", _reached),
        *(_cost_column(cost) for cost in shown),
        Column(
            "lowest validation loss",
            f"{target.unit}: what more than half of the seeds reached",
            lambda row: value_cell(row.lowest, format_fixed),
        ),
    ]
    default = "the best that two rows reach; set another by python -m bench.report FOLDER target=…"
    origin = "as given" if target.given else default
    return build_table(
        name,
        columns,
        target.rows.itertuples(),
        caption=f"Target: {format_fixed(target.level)} {target.unit}, {origin}.",
        notes=_notes(target, "seconds_to_target" in shown),
        heading="What it takes to reach a target",
    )


def _reached(row: Any) -> Cell:
    return Cell(f"{row.target_reached:.0f} of {row.seeds:.0f}", row.target_reached / row.seeds)


def _cost_column(cost: str) -> Column:
    title, show = COSTS[cost]

    def cell(row: Any) -> Cell:
        value = float(getattr(row, cost))
        return Cell("missed", mark="bad") if math.isinf(value) else value_cell(value, show)

    about = "at the first validation at or below the target: the median over seeds"
    return Column(title, about, cell)


def _notes(target: Target, has_seconds: bool) -> list[str]:
    notes = [
        "Validation loss on the fixed blocks that training logs, separators between documents "
        f"included; {target.looks:.0f} validations per run, so a target may have been reached up "
        "to one validation earlier."
    ]
    if target.unit == NATS:
        notes.append("In nats per token: these records do not hold the bytes of the blocks.")
    elif target.average:
        notes.append(
            "Bits per byte by the mean bytes per token of the whole validation part: these records "
            "do not hold those of the blocks."
        )
    if has_seconds:
        notes.append(
            "Seconds are tokens divided by the separately measured rate, not the wall time of the "
            "training run."
        )
    else:
        notes.append("No seconds: no training rate was measured for these rows.")
    return notes
