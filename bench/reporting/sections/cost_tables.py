"""The tables of cost: why one is slower than another, what a training step holds in memory, and what it draws in energy."""

import math
from functools import partial

from bench.analysis import efficiency
from bench.analysis.formatting import NONE, count, large, number, percent, size
from bench.analysis.speed_groups import Group
from bench.reporting.columns import Column, plain, shown, tabulate
from bench.reporting.html_table import Cell, Table
from bench.reporting.sections.speed_tables import order

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


def why_slower(group: Group) -> Table:
    """The parts of a training step's cost, side by side."""
    sitting = group.sitting
    columns = [
        Column("µs a token", "of training", partial(_microseconds, group)),
        Column(
            "FLOPs a token",
            "of training by formula: three times the forward ones",
            partial(_flops, group),
        ),
        Column(
            "utilisation",
            "FLOPs per second over those of a large matrix product in the same process",
            partial(_use, group),
        ),
        plain(
            sitting,
            "bytes a token",
            "that operators read and write in a training step",
            "traffic_bytes_per_token",
            size,
        ),
        Column("traffic to a copy", ABOUT_TRAFFIC, partial(_traffic, group)),
        plain(
            sitting,
            "operators a step",
            "calls of operators in a training step",
            "operators_per_step",
            count,
        ),
        Column(
            "forward / backward / optimizer",
            "shares of a training step’s time",
            partial(_shares, group),
        ),
        Column(
            "training is",
            "launch-bound: a larger batch is at least 15 % faster a token",
            partial(_mark, group),
        ),
    ]
    return tabulate(
        group,
        "costs",
        "Why is it slower?",
        "What one training step costs, side by side.",
        columns,
        order(group),
    )


ABOUT_USE = "FLOPs per second over those of a large matrix product in the same process"
ABOUT_TRAFFIC = "bytes per second over those of a large copy in the same process; above 100 % where caches serve them"


def _microseconds(group: Group, subject: str) -> Cell:
    rate = group.sitting.value(subject, "train_tokens_per_second")
    why = group.sitting.why(subject, "train_tokens_per_second")
    return shown(1e6 / rate if rate > 0 else math.nan, number, why=why)


def _flops(group: Group, subject: str) -> Cell:
    flops, share = (
        efficiency.train_flops(group.sitting, subject),
        efficiency.unchecked(group.sitting, subject),
    )
    small = f"{percent(share)} unchecked" if share > 0 else ""
    return shown(flops, large, small, group.sitting.why(subject, "flops_per_token"))


def _use(group: Group, subject: str) -> Cell:
    share, peak = (
        efficiency.utilisation(group.sitting, subject),
        group.sitting.value(subject, "product_flops_per_second"),
    )
    if not math.isfinite(share):
        known = math.isfinite(efficiency.train_flops(group.sitting, subject))
        return Cell(
            "unknown" if known else NONE,
            None,
            why="unknown: no peak was measured in this process" if known else "",
        )
    return Cell(percent(share), share, f"of {large(peak)}FLOP/s")


def _traffic(group: Group, subject: str) -> Cell:
    copy = group.sitting.value(subject, "copy_bytes_per_second")
    return shown(efficiency.traffic(group.sitting, subject), percent, f"of {size(copy)}/s")


def _shares(group: Group, subject: str) -> Cell:
    found = efficiency.shares(group.sitting, subject)
    said = " / ".join(f"{100 * share:.0f}" for share in found if math.isfinite(share))
    return shown(
        found[0], lambda _: f"{said} %", why=group.sitting.why(subject, efficiency.PARTS[0])
    )


def _mark(group: Group, subject: str) -> Cell:
    found = efficiency.mark(group.sitting, subject, "train_tokens_per_second")
    return Cell(found.text, found.gain, found.small) if found else shown(math.nan, str)


def memory(group: Group) -> Table:
    """Bytes of a training step by what they hold, the largest batch, and joules."""
    sitting = group.sitting
    columns = [plain(sitting, title, about, metric, size) for title, about, metric in MEMORY]
    limit = sitting.options.get("memory_limit") or 0
    about = (
        f"sequences of a step that fit into {size(float(limit))}"
        if limit
        else "sequences of a step that fit into the limit"
    )
    columns.append(plain(sitting, "largest batch", about, "largest_batch", count))
    columns.append(
        plain(sitting, "energy a token", "of training", "train_joules_per_token", _joules)
    )
    return tabulate(group, "memory", "Memory and energy", "", columns, order(group))


def _joules(value: float) -> str:
    for unit, scale in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if value >= scale:
            return f"{number(value / scale)} {unit}"
    return f"{number(value / 1e-9)} nJ"
