"""Scores of causal models beside the headline: further protocols, and what a target costs."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.formatting import format_fixed, format_large, format_number, plural
from bench.analysis.protocols import SAMPLED, ProtocolScore, ProtocolScores
from bench.analysis.time_to_target import NATS, Target
from bench.reporting import html_table as ht
from bench.reporting.sentences import say

GAIN = "Below it the gain over chunk and its standard error over the stretches."
COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "tokens_to_target": ("training tokens", format_large),
    "flops_to_target": ("training FLOPs", format_large),
    "seconds_to_target": ("seconds", format_number),
}


def protocol_table(name: str, scores: ProtocolScores, means: pd.DataFrame) -> ht.Table:
    """Return the scores by further protocols, in the headline's order: never ranked with it."""
    columns = [
        ht.VARIANT,
        ht.number(f"{scores.headline}, all text", "the headline, bits per byte", "bits_per_byte"),
        *(_sample_columns(scores) if scores.sampled else ()),
        *(_rescored_column(*one) for one in scores.rescored.items()),
        *ht.mean_columns("protocols", means, {f"{one}_bits_per_byte" for one in SAMPLED}),
    ]
    caption = (
        "Columns are never ranked against each other: more context makes every score better. "
        "Within a column every row is scored on the same tokens."
    )
    about: Any = {"caption": caption, "notes": scores.notes, "heading": "Further protocols"}
    return ht.build_table(name, columns, scores.rows, drop_empty=True, **about)


def _sample_columns(scores: ProtocolScores) -> Iterator[ht.Column]:
    for protocol in SAMPLED:
        cell, help = partial(_sample_cell, scores, protocol), "" if protocol == "chunk" else GAIN
        yield ht.metric_column(f"{protocol}_bits_per_byte", cell, help)

    def best(row: Any) -> ht.Cell:
        own = {name: one.value for name, one in scores.sampled[row.Index].items()}
        own = {name: value for name, value in own.items() if value == value}
        protocol = min(own, key=lambda name: own[name], default="")
        return ht.value_cell(own[protocol], format_fixed, protocol) if protocol else ht.EMPTY

    about = "the lowest of the three protocols that this architecture can be scored by"
    yield ht.Column("best applicable, sample", about, best)


def _sample_cell(scores: ProtocolScores, protocol: str, row: Any) -> ht.Cell:
    score = scores.sampled[row.Index][protocol]
    gains = f"gains {format_fixed(score.gain)} ± {format_fixed(score.gain_error)}"
    small = gains if score.gain == score.gain else ""
    return ht.value_cell(score.value, format_fixed, small, reason=score.reason)


def _rescored_column(protocol: str, scores: dict[int, ProtocolScore]) -> ht.Column:
    def cell(row: Any) -> ht.Cell:
        score = scores[row.Index]
        seeds = plural(score.seeds, "seed")
        return ht.value_cell(score.value, format_fixed, seeds, reason=score.reason)

    about = "scored again: bits per byte, the mean over the seeds that were"
    return ht.Column(f"{protocol}, all text", about, cell)


def target_table(name: str, target: Target) -> ht.Table:
    """Return who reached a target, after how many tokens, FLOPs and seconds."""
    shown = [cost for cost in COSTS if target.rows[cost].notna().any()]
    columns = [
        ht.name_column(help="the median over seeds"),
        ht.Column("reached by", "seeds that reached the target at some validation", _reached),
        *map(_cost_column, shown),
        ht.number("lowest validation loss",
               f"{target.unit}: what more than half of the seeds reached", "lowest"),
    ]  # fmt: skip
    default = "the best that two rows reach; set another by python -m bench.report FOLDER target=…"
    origin = "as given" if target.given else default
    caption = f"Target: {format_fixed(target.level)} {target.unit}, {origin}."
    notes = say("target_notes", target, NATS, "seconds_to_target" in shown)
    heading = "What it takes to reach a target"
    return ht.build_table(name, columns, target.rows, caption=caption, notes=notes, heading=heading)


def _reached(row: Any) -> ht.Cell:
    return ht.Cell(f"{row.target_reached:.0f} of {row.seeds:.0f}", row.target_reached / row.seeds)


def _cost_column(cost: str) -> ht.Column:
    title, show = COSTS[cost]

    def cell(row: Any) -> ht.Cell:
        value = float(getattr(row, cost))
        return ht.Cell("missed", mark="bad") if math.isinf(value) else ht.value_cell(value, show)

    return ht.Column(title, "at the first validation at or below the target", cell)
