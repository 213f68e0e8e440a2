"""The tables of cost: what makes a training step slow, and what it holds in memory."""

import math
from functools import partial

from bench.analysis import efficiency
from bench.analysis.formatting import (
    NO_VALUE,
    format_bytes,
    format_large,
    format_number,
    format_percent,
)
from bench.analysis.sessions import TRAIN_RATE
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.html_table import Cell, Column, Table, registered_columns, value_cell
from bench.reporting.sections.measured import measured_cell, measured_table

ABOUT_USE = "FLOPs per second over those of a large matrix product in the same process"
ABOUT_TRAFFIC = (
    "bytes per second over those of a large copy in the same process; above 100 % where caches "
    "serve them"
)
NO_PEAK = "unknown: no peak was measured in this process"


def cost_table(group: SpeedGroup) -> Table:
    """Return the parts of a training step's cost, side by side."""
    cell = partial(measured_cell, group)
    columns = [
        Column("µs per token", "of training", partial(_microseconds, group)),
        Column("training FLOPs per token", "by formula: three times the forward ones",
               partial(_flops, group)),
        Column("utilisation", ABOUT_USE, partial(_utilisation, group)),
        *registered_columns("costs", cell, {"flops_per_token"}),
        Column("traffic over copy", ABOUT_TRAFFIC, partial(_traffic, group)),
        Column("forward / backward / optimizer", "shares of a training step's time",
               partial(_shares, group)),
        Column("training is", "launch-bound: a larger batch is at least 15 % faster per token",
               partial(_batch_gain, group)),
    ]  # fmt: skip
    caption = "What one training step costs, side by side."
    return measured_table(group, "costs", "Why is it slower?", columns, caption)


def _microseconds(group: SpeedGroup, subject: str) -> Cell:
    rate = group.session.value(subject, TRAIN_RATE)
    reason = group.session.missing_reason(subject, TRAIN_RATE)
    return value_cell(1e6 / rate if rate > 0 else None, format_number, reason=reason)


def _flops(group: SpeedGroup, subject: str) -> Cell:
    share = efficiency.unchecked_share(group.session, subject)
    small = f"{format_percent(share)} unchecked" if share > 0 else ""
    flops = efficiency.train_flops_per_token(group.session, subject)
    reason = group.session.missing_reason(subject, "flops_per_token")
    return value_cell(flops, format_large, small, reason=reason)


def _utilisation(group: SpeedGroup, subject: str) -> Cell:
    peak = group.session.value(subject, "product_flops_per_second")
    share = efficiency.utilisation(group.session, subject)
    if math.isfinite(share):
        return Cell(format_percent(share), share, f"of {format_large(peak)}FLOP/s")
    has_flops = math.isfinite(efficiency.train_flops_per_token(group.session, subject))
    return Cell("unknown", reason=NO_PEAK) if has_flops else Cell(NO_VALUE)


def _traffic(group: SpeedGroup, subject: str) -> Cell:
    copy = group.session.value(subject, "copy_bytes_per_second")
    share = efficiency.traffic_share(group.session, subject)
    return value_cell(share, format_percent, f"of {format_bytes(copy)}/s")


def _shares(group: SpeedGroup, subject: str) -> Cell:
    shares = efficiency.step_shares(group.session, subject)
    text = " / ".join(f"{100 * share:.0f}" for share in shares if math.isfinite(share))
    reason = group.session.missing_reason(subject, efficiency.STEP_PARTS[0])
    return value_cell(shares[0], lambda _: f"{text} %", reason=reason)


def _batch_gain(group: SpeedGroup, subject: str) -> Cell:
    gain = efficiency.batch_gain(group.session, subject, TRAIN_RATE)
    return Cell(gain.text, gain.gain, gain.small) if gain else Cell(NO_VALUE)


def memory_table(group: SpeedGroup) -> Table:
    """Return bytes of a training step by what they hold, the largest batch, and energy."""
    limit = group.session.options.get("memory_limit") or 0
    caption = f"Largest batch: within {format_bytes(float(limit))}." if limit else ""
    columns = list(registered_columns("memory", partial(measured_cell, group)))
    return measured_table(group, "memory", "Memory and energy", columns, caption)
