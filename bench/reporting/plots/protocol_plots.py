"""Plots of loss against the position in the context, and against the allowed context."""

import math
from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.aggregate import VariantTables
from bench.analysis.comparisons import Comparison
from bench.analysis.protocols import curve_gaps, curve_means
from bench.records.tables import Records
from bench.reporting.plots.base import (
    DOTTED,
    MAX_NAMED,
    EmptyPlot,
    Plot,
    draw_lines,
    make_plot,
    pad_y,
    set_doubling,
)
from bench.reporting.plots.labels import Label

CURVES = (  # metric, axis, title, label, caption
    ("position_nats", "position", "Loss against position in the context",
     "tokens read before the predicted one, at most",
     "From the headline's own windows: a line that keeps falling uses tokens further back."),
    ("context_nats", "context", "Loss against allowed context", "tokens of allowed context",
     "The same sampled tokens each time, in windows of that length side by side. Right of the "
     "vertical line is more context than was trained on: a line that keeps falling uses it."),
)  # fmt: skip


def protocol_plots(part: Comparison, records: Records, variants: VariantTables) -> Iterator[Plot]:
    """Yield both plots of each table of causal models, with a line per architecture."""
    for number, table in enumerate(part.likelihoods):
        rows = table[~table["control"]]
        shown = rows.head(MAX_NAMED)
        some = [f"The best {MAX_NAMED} of {len(rows)} rows."] * (len(shown) < len(rows))
        for metric, axis, title, label, about in CURVES:
            means = curve_means(shown, records, variants, metric, axis)
            caption = " ".join([about, *some, *curve_gaps(shown, records, variants, metric)])
            draw = partial(_draw, means, int(rows["context"].iloc[0]), label)
            yield make_plot(f"{part.name}-{metric}-{number}", title, caption, draw)


def _draw(table: pd.DataFrame, context: int, label: str, axes: Axes) -> list[Label]:
    """Draw loss against tokens, each step of the axis a doubling."""
    if table["x"].nunique() < 2:
        raise EmptyPlot("the records hold no such numbers")
    labels = draw_lines(axes, table.sort_values(["short", "x"]), marker="o", markersize=2.5)
    if table["x"].max() > context:
        axes.axvline(context, **DOTTED)
    low, high = _loss_range(table.sort_values("x"))
    pad_y(axes, low, high)
    axes.set_xlabel(label)
    axes.set_ylabel("held-out loss (nats per token)")
    positions = set(table["x"])
    if min(positions) < 2:
        positions = {2.0 ** round(math.log2(x)) for x in positions}
    set_doubling(axes, sorted(positions))
    return [(x, min(max(y, low), high), name, tint) for x, y, name, tint in labels]


def _loss_range(table: pd.DataFrame) -> tuple[float, float]:
    """Return the range of loss that is shown; a line that diverges must not flatten the others."""
    low, high = float(table["y"].min()), float(table["y"].max())
    usual = float(table.groupby("short")["y"].first().max())
    return low, min(high, usual + 0.5 * max(usual - low, 1e-3))
