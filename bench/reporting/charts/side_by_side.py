"""Quality, speed and memory of every row side by side: a panel each, a line per row."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import COLOUR, INK, chart, specification, tooltip

ROW_HEIGHT = 20
PANEL_WIDTH, NUMBER_WIDTH = 110, 62  # pixels; the script fits the first to the page
ABOUT = tooltip(
    ("label", "architecture"),
    ("title", "measure"),
    ("text", "value"),
    ("interval", "95 % interval"),
    ("ratio", "to the reference row"),
)


@cache
def side_by_side(panels: tuple[tuple[str, str, bool], ...]) -> dict[str, Any]:
    """Return the chart. A panel: the name of its measure, its title, whether it starts at zero."""
    drawn = [_panel(number, *panel) for number, panel in enumerate(panels)]
    return specification(alt.hconcat(*drawn, spacing=NUMBER_WIDTH, bounds="flush"))


def _panel(number: int, metric: str, title: str, from_zero: bool) -> Any:
    order = alt.EncodingSortField("order", op="min")
    axis = alt.Axis(title=None, ticks=False, domain=False, labelLimit=170, labelPadding=6)
    base = chart("panels", f"datum.panel === '{metric}'").encode(
        y=alt.Y("label:N", sort=order, axis=axis if number == 0 else None)
    )
    value = _bars(base, title) if from_zero else _dots(base, title)
    interval = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low:Q", title=title), x2="high:Q", color=COLOUR
    )
    number_text = base.mark_text(align="left", dx=6, color=INK)
    text = number_text.encode(x=alt.value("width"), text="text:N", tooltip=ABOUT)
    layers = alt.layer(value, interval, text)
    return layers.properties(width=PANEL_WIDTH, height=alt.Step(ROW_HEIGHT))


def _bars(base: alt.Chart, title: str) -> alt.Chart:
    scale = alt.Scale(zero=True, nice=False)
    x = alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=3, format="~s"))
    return base.mark_bar(opacity=0.55, height={"band": 0.6}).encode(
        x=x, color=COLOUR, tooltip=ABOUT
    )


def _dots(base: alt.Chart, title: str) -> alt.Chart:
    scale = alt.Scale(zero=False, nice=False, padding=8)
    x = alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(tickCount=3))
    return base.mark_point(filled=True, size=55, opacity=1).encode(x=x, color=COLOUR, tooltip=ABOUT)
