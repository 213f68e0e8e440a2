"""The tables of cost: why one is slower than another, what a training step holds in memory, and what it draws in energy."""

import math
from functools import partial

from bench.analysis import efficiency
from bench.analysis.formatting import (
    NO_VALUE,
    format_bytes,
    format_count,
    format_large,
    format_number,
    format_percent,
)
from bench.analysis.speed_groups import SpeedGroup
from bench.reporting.columns import MeasuredColumn, measurement_table, metric_column, value_cell
from bench.reporting.html_table import Cell, Table
from bench.reporting.sections.speed_tables import subject_order

MEMORY = (
    (
        "peak",
        "of live tensor storages in one training step; on CUDA what the allocator gave out",
        "peak_train_memory_bytes",
    ),
    ("parameters", "of that peak", "memory_parameters_bytes"),
    ("gradients", "of that peak", "memory_gradients_bytes"),
    ("optimizer", "of that peak", "memory_optimizer_bytes"),
    ("activations", "of that peak", "memory_activations_bytes"),
    ("temporary", "of that peak", "memory_temporary_bytes"),
    (
        "activations a token",
        "bytes that the backward pass keeps for each token",
        "activation_bytes_per_token",
    ),
    (
        "allocator’s peak",
        "with the buffers that operators take inside themselves",
        "memory_allocator_peak_bytes",
    ),
    ("reserved", "by the allocator", "memory_reserved_bytes"),
    (
        "process’s rise",
        "since before the model was built; coarse, and never used for ranking",
        "memory_process_rise_bytes",
    ),
)


def cost_table(group: SpeedGroup) -> Table:
    """The parts of a training step's cost, side by side."""
    sitting = group.session
    columns = [
        MeasuredColumn("µs a token", "of training", partial(_microseconds, group)),
        MeasuredColumn(
            "FLOPs a token",
            "of training by formula: three times the forward ones",
            partial(_flops, group),
        ),
        MeasuredColumn(
            "utilisation",
            "FLOPs per second over those of a large matrix product in the same process",
            partial(_use, group),
        ),
        metric_column(
            sitting,
            "bytes a token",
            "that operators read and write in a training step",
            "traffic_bytes_per_token",
            format_bytes,
        ),
        MeasuredColumn("traffic to a copy", ABOUT_TRAFFIC, partial(_traffic, group)),
        metric_column(
            sitting,
            "operators a step",
            "calls of operators in a training step",
            "operators_per_step",
            format_count,
        ),
        MeasuredColumn(
            "forward / backward / optimizer",
            "shares of a training step’s time",
            partial(_shares, group),
        ),
        MeasuredColumn(
            "training is",
            "launch-bound: a larger batch is at least 15 % faster a token",
            partial(_mark, group),
        ),
    ]
    return measurement_table(
        group,
        "costs",
        "Why is it slower?",
        "What one training step costs, side by side.",
        columns,
        subject_order(group),
    )


ABOUT_USE = "FLOPs per second over those of a large matrix product in the same process"
ABOUT_TRAFFIC = "bytes per second over those of a large copy in the same process; above 100 % where caches serve them"


def _microseconds(group: SpeedGroup, subject: str) -> Cell:
    rate = group.session.value(subject, "train_tokens_per_second")
    why = group.session.missing_reason(subject, "train_tokens_per_second")
    return value_cell(1e6 / rate if rate > 0 else math.nan, format_number, why=why)


def _flops(group: SpeedGroup, subject: str) -> Cell:
    flops, share = (
        efficiency.train_flops_per_token(group.session, subject),
        efficiency.unchecked_share(group.session, subject),
    )
    small = f"{format_percent(share)} unchecked" if share > 0 else ""
    return value_cell(flops, format_large, small, group.session.missing_reason(subject, "flops_per_token"))


def _use(group: SpeedGroup, subject: str) -> Cell:
    share, peak = (
        efficiency.utilisation(group.session, subject),
        group.session.value(subject, "product_flops_per_second"),
    )
    if not math.isfinite(share):
        known = math.isfinite(efficiency.train_flops_per_token(group.session, subject))
        return Cell(
            "unknown" if known else NO_VALUE,
            None,
            why="unknown: no peak was measured in this process" if known else "",
        )
    return Cell(format_percent(share), share, f"of {format_large(peak)}FLOP/s")


def _traffic(group: SpeedGroup, subject: str) -> Cell:
    copy = group.session.value(subject, "copy_bytes_per_second")
    return value_cell(
        efficiency.traffic_share(group.session, subject),
        format_percent,
        f"of {format_bytes(copy)}/s",
    )


def _shares(group: SpeedGroup, subject: str) -> Cell:
    found = efficiency.step_shares(group.session, subject)
    said = " / ".join(f"{100 * share:.0f}" for share in found if math.isfinite(share))
    return value_cell(
        found[0], lambda _: f"{said} %", why=group.session.missing_reason(subject, efficiency.STEP_PARTS[0])
    )


def _mark(group: SpeedGroup, subject: str) -> Cell:
    found = efficiency.batch_gain(group.session, subject, "train_tokens_per_second")
    return Cell(found.text, found.gain, found.small) if found else value_cell(math.nan, str)


def memory_table(group: SpeedGroup) -> Table:
    """Bytes of a training step by what they hold, the largest batch, and joules."""
    sitting = group.session
    columns = [
        metric_column(sitting, title, about, metric, format_bytes)
        for title, about, metric in MEMORY
    ]
    limit = sitting.options.get("memory_limit") or 0
    about = (
        f"sequences of a step that fit into {format_bytes(float(limit))}"
        if limit
        else "sequences of a step that fit into the limit"
    )
    columns.append(metric_column(sitting, "largest batch", about, "largest_batch", format_count))
    columns.append(
        metric_column(sitting, "energy a token", "of training", "train_joules_per_token", _joules)
    )
    return measurement_table(
        group, "memory", "Memory and energy", "", columns, subject_order(group)
    )


def _joules(value: float) -> str:
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if value >= scale:
            return f"{format_number(value / scale)} {unit}"
    return f"{format_number(value / 1e-9)} nJ"
