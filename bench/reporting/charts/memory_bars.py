"""Memory of a training step as bars, by what it holds."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import COLOUR, INK, specification, tooltip

BAR_HEIGHT = 17
PARTS = ("parameters", "gradients", "optimizer", "activations", "temporary")
SHADES = (1.0, 0.78, 0.58, 0.4, 0.22)
ABOUT = tooltip(("label", "architecture"), ("part", "holds"), ("text", "bytes"))


@cache
def memory_bars() -> dict[str, Any]:
    """Return the chart of `memory-parts`: label, part, order of the part, bytes, text."""
    legend = alt.Legend(
        orient="top", title=None, columns=3, symbolFillColor=INK, symbolStrokeColor=INK
    )
    shades = alt.Scale(type="ordinal", domain=[*PARTS], range=[*SHADES])
    axis = alt.Axis(format="~s", tickCount=6)
    bars = alt.Chart(alt.NamedData("memory-parts")).mark_bar()
    bars = bars.encode(
        alt.X("bytes:Q", title="bytes at the peak of a training step", axis=axis),
        alt.Y("label:N", title=None, sort=alt.EncodingSortField("total", order="descending")),
        COLOUR,
        opacity=alt.Opacity("part:N", scale=shades, legend=legend),
        order="order:Q",
        tooltip=ABOUT,
    )
    return specification(bars.properties(height={"step": BAR_HEIGHT}))
