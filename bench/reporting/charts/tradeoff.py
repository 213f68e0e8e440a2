"""Quality against any measure, with the rows that no other beats in both."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import (
    AXIS,
    COLOUR,
    FAINT,
    SHAPE,
    ZOOM,
    chart,
    hovered,
    levels,
    names,
    specification,
    tooltip,
)
from bench.reporting.charts.loss_curves import HEIGHT

ABOUT = tooltip(
    ("label", "architecture"), ("quality", "quality"), ("quality_interval", "95 % interval"),
    ("measure", "measure"), ("measure_interval", "95 % interval"),
    ("ratio", "measure, to the reference row"),
)  # fmt: skip
FRONT = chart("front").mark_line(strokeDash=[4, 3], strokeWidth=1, color=FAINT)


@cache
def tradeoff() -> dict[str, Any]:
    """Return the chart of `points`: x and y with their ends; `front` is the Pareto front."""
    pick = hovered("key")
    scale = alt.Scale(zero=False, nice=False, padding=12)
    x = alt.X("x:Q", title=None, scale=scale, axis=AXIS)
    y = alt.Y("y:Q", title=None, scale=scale)
    size = alt.condition(pick, alt.value(160), alt.value(70))
    dots = chart("points").mark_point(filled=True, opacity=1)
    dots = dots.encode(x, y, COLOUR, SHAPE, size=size, tooltip=ABOUT).add_params(pick, ZOOM)
    name = chart("points").transform_filter(pick)
    name = name.mark_text(align="left", dx=9, dy=-9, fontWeight="bold", clip=False)
    layers = alt.layer(
        FRONT.encode(x, y, order="order:Q"),
        levels("point levels"),
        *_intervals(x, y),
        dots,
        name.encode(x, y, COLOUR, text="label:N"),
        names("point names"),
    )
    return specification(layers.properties(height=HEIGHT))


def _intervals(x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Return the intervals of both numbers, as lines through the points."""
    rules = chart("points").mark_rule(opacity=0.6)
    return [
        rules.encode(x, alt.Y("ylow:Q", title=None), COLOUR, y2="yhigh:Q"),
        rules.encode(alt.X("xlow:Q", title=None), y, COLOUR, x2="xhigh:Q"),
    ]
