"""Small multiples: a panel for each measure, in it a line and points for each row."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import (
    COLOUR,
    DASH,
    LABEL_FONT,
    SHAPE,
    specification,
    tooltip,
)

WIDTH, HEIGHT, NAMES = 230, 180, 110  # of a panel and of the names beside it, pixels
ABOUT = tooltip(("label", "architecture"), ("at", "at"), ("text", "value"))


@cache
def panels(data: str, order: tuple[str, ...], log: str = "", base: int = 10) -> dict[str, Any]:
    """Return the chart of a dataset: panel, x, y, low, high, point, at, text, name, name_y.

    `order`: of the panels. `log`: which axes are logarithmic, "", "x", "y" or "xy"; `base`: of x.
    """
    x = alt.X(
        "x:Q", title=None, scale=_scale("x" in log, base), axis=_axis("d" if base == 2 else "~s")
    )
    y = alt.Y("y:Q", title=None, scale=_scale("y" in log, 10), axis=_axis("~s"))
    made = alt.Chart().encode(x, COLOUR, detail="label:N")
    layers = alt.layer(
        made.mark_area(opacity=0.15).encode(alt.Y("low:Q", title=None), y2="high:Q"),
        made.mark_line(strokeWidth=1.6).encode(y, DASH),
        _points(made),
        made.mark_text(align="left", dx=7, fontSize=LABEL_FONT).encode(
            alt.Y("name_y:Q", title=None), text="name:N"
        ),
    ).properties(width=WIDTH, height=HEIGHT)
    header = alt.Header(title=None, labelAnchor="start", labelFontWeight="bold", labelFontSize=12)
    return specification(
        _facets(layers, alt.Facet("panel:N", sort=list(order), header=header), data)
    )


def _scale(is_log: bool, base: int) -> alt.Scale:
    kind: Any = {"type": "log", "base": base} if is_log else {"type": "linear"}
    return alt.Scale(zero=False, nice=False, padding=6, **kind)


def _axis(format: str) -> alt.Axis:
    return alt.Axis(format=format, tickCount=4, labelOverlap=True)


def _points(made: alt.Chart) -> alt.Chart:
    points = made.mark_point(filled=True, size=40, opacity=1)
    return points.encode(alt.Y("point:Q", title=None), SHAPE, tooltip=ABOUT)


def _facets(layers: Any, facet: alt.Facet, data: str) -> alt.FacetChart:
    """Return panels with axes of their own; the script sets how many fit beside one another."""
    spacing = {"column": NAMES, "row": 24}
    made = layers.facet(facet, columns=3, data=alt.NamedData(data)).properties(spacing=spacing)
    return made.resolve_scale(x="independent", y="independent")
