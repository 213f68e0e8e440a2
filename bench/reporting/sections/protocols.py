"""What further protocols give each causal model, beside the headline and never ranked with it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.formatting import format_fixed, plural
from bench.analysis.protocols import SAMPLED, ProtocolScore, ProtocolScores
from bench.reporting.html_table import (
    EMPTY,
    Cell,
    Column,
    Table,
    build_table,
    metric_column,
    value_cell,
)
from bench.reporting.variant_cells import VARIANT, further_columns

CAPTION = (
    "Bits per byte under other rules for context. Columns are never ranked against each other: "
    "more context makes every score better. Within a column every row is scored on the same tokens."
)
GAIN = "Below it the gain over chunk and its standard error over the stretches."


def protocol_table(name: str, scores: ProtocolScores, means: pd.DataFrame) -> Table:
    """Return the table of the headline's rows, in the headline's order."""
    columns = [
        VARIANT,
        Column(
            f"{scores.headline}, all text",
            "the headline, bits per byte",
            lambda row: value_cell(row.bits_per_byte, format_fixed),
        ),
        *(_sample_columns(scores) if scores.sampled else ()),
        *(_rescored_column(*one) for one in scores.rescored.items()),
        *further_columns("protocols", means, {f"{one}_bits_per_byte" for one in SAMPLED}),
    ]
    return build_table(
        name,
        columns,
        scores.rows.itertuples(),
        drop_empty=True,
        caption=CAPTION,
        notes=scores.notes,
        heading="Further protocols",
    )


def _sample_columns(scores: ProtocolScores) -> Iterator[Column]:
    for protocol in SAMPLED:
        yield metric_column(
            f"{protocol}_bits_per_byte",
            partial(_sample_cell, scores, protocol),
            "" if protocol == "chunk" else GAIN,
        )

    def best(row: Any) -> Cell:
        own = scores.sampled[row.Index]
        scored = [protocol for protocol in SAMPLED if own[protocol].value == own[protocol].value]
        protocol = min(scored, key=lambda one: own[one].value, default="")
        return value_cell(own[protocol].value, format_fixed, protocol) if protocol else EMPTY

    about = "the lowest of the three protocols that this architecture can be scored by"
    yield Column("best applicable, sample", about, best)


def _sample_cell(scores: ProtocolScores, protocol: str, row: Any) -> Cell:
    score = scores.sampled[row.Index][protocol]
    gains = f"gains {format_fixed(score.gain)} ± {format_fixed(score.gain_error)}"
    small = gains if score.gain == score.gain else ""
    return value_cell(score.value, format_fixed, small, reason=score.reason)


def _rescored_column(protocol: str, scores: dict[int, ProtocolScore]) -> Column:
    def cell(row: Any) -> Cell:
        score = scores[row.Index]
        return value_cell(
            score.value, format_fixed, plural(score.seeds, "seed"), reason=score.reason
        )

    about = "scored again: bits per byte, the mean over the seeds that were"
    return Column(f"{protocol}, all text", about, cell)
