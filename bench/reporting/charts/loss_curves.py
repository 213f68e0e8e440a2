"""Training and held-out loss against tokens, FLOPs or seconds."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import (
    AXIS,
    COLOUR,
    DASH,
    ZOOM,
    chart,
    hovered,
    levels,
    names,
    specification,
    tooltip,
)

HEIGHT = 300
Y_TITLE = "nats per token"
ABOUT = tooltip(("label", "architecture"), ("seeds", "seed"), ("at", "at"), ("text", "loss"))


@cache
def loss_curves() -> dict[str, Any]:
    """Return the chart of `curves`: x, y, low and high of lines that the script has averaged."""
    pick, curves = hovered("line"), chart("curves")
    x = alt.X("x:Q", title=None, axis=AXIS, scale=_scale())
    limits = _scale(domainMin=alt.expr("bottom"), domainMax=alt.expr("top"))
    y = alt.Y("y:Q", title=Y_TITLE, scale=limits)
    band = curves.mark_area(opacity=0.15, clip=True)
    band = band.encode(x, alt.Y("low:Q", title=Y_TITLE), y2="high:Q", detail="line:N")
    width = alt.condition(pick, alt.value(3.5), alt.value(1.6))
    line = curves.mark_line(clip=True).encode(x, y, DASH, detail="line:N", strokeWidth=width)
    drawn = [layer.encode(COLOUR) for layer in (band, line, _points(x, y, pick))]
    layers = alt.layer(levels("curve levels"), *drawn, names("curve names"))
    return specification(layers.properties(height=HEIGHT), bottom=0, top=1)


def _points(x: alt.X, y: alt.Y, pick: alt.Parameter) -> alt.Chart:
    """Return the logged points, of which only those of the hovered line are seen."""
    shown = alt.condition(pick, alt.value(1), alt.value(0))
    points = chart("curves").mark_point(size=40, filled=True, clip=True)
    return points.encode(x, y, opacity=shown, tooltip=ABOUT).add_params(pick, ZOOM)


def _scale(**limits: Any) -> alt.Scale:
    return alt.Scale(zero=False, nice=False, **limits)
