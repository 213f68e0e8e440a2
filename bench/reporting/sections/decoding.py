"""The table of decoding: at several batches and lengths, and in state."""

from itertools import chain

from bench.analysis.formatting import format_large, format_seconds, plural
from bench.analysis.sessions import DECODE_RATE, DECODE_TIME
from bench.analysis.speed_groups import SpeedGroup
from bench.records.metrics import in_section
from bench.reporting.html_table import Column, Table, metric_column
from bench.reporting.sections.measured import measured_cell, measured_table, point_column


def decoding_table(group: SpeedGroup) -> Table:
    """Return the costs of decoding: at several batches and lengths, and in state."""
    columns = chain(
        _batch_columns(group), *(_decoding_columns(group, s.name) for s in in_section("decoding"))
    )
    return measured_table(group, "decoding", "Decoding", list(columns))


def _batch_columns(group: SpeedGroup) -> list[Column]:
    metric = DECODE_RATE
    batches = [1.0, *group.session.places(metric, "batch")]
    columns = []
    for batch in batches:
        title = f"batch {batch:g}" if batch > 1 else "tokens/s, batch 1"
        point = (metric, "batch", batch) if batch > 1 else (metric, "", 0.0)
        help = f"tokens per second of {plural(int(batch), 'sequence')} at once"
        columns.append(point_column(title, help, group, point, format_large))
    return columns


def _decoding_columns(group: SpeedGroup, metric: str) -> list[Column]:
    session = group.session
    if metric != DECODE_TIME:
        return [metric_column(metric, lambda subject: measured_cell(group, subject, metric))]
    lengths = [
        length
        for length in session.places(metric, "length")
        if any(
            (subject, (metric, "length", length)) in session.points for subject in group.subjects
        )
    ]
    return [
        point_column(
            f"further token at {length:,g}",
            f"time of one more token after {length:,g} tokens, batch 1",
            group,
            (metric, "length", length),
            format_seconds,
        )
        for length in dict.fromkeys([*lengths[:1], *lengths[-1:]])
    ]
