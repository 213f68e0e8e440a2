"""How far back predictions look, and how the loss falls with the context."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import COLOUR, DASH, chart, hovered, specification, tooltip

HEIGHT = 260
SHARES, LOSSES = "lookback", "loss by position"  # names of the datasets
TITLES = {
    SHARES: ("tokens back", "share of saliency within them"),
    LOSSES: ("tokens read before the predicted one", "nats per token"),
}


@cache
def context_chart(data: str) -> dict[str, Any]:
    """Return a line per row over tokens, on a log axis: `tokens`, `value`, `text` of the data."""
    pick, lines = hovered("key"), chart(data)
    x_title, y_title = TITLES[data]
    x = alt.X("tokens:Q", title=x_title, scale=alt.Scale(type="log", base=2, nice=False))
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=data == SHARES, nice=False))
    width = alt.condition(pick, alt.value(3.5), alt.value(1.6))
    line = lines.mark_line().encode(x, y, DASH, COLOUR, detail="key:N", strokeWidth=width)
    shown = alt.condition(pick, alt.value(1), alt.value(0))
    about = tooltip(("label", "architecture"), ("text", y_title))
    points = lines.mark_point(size=40, filled=True).encode(
        x, y, COLOUR, opacity=shown, tooltip=about
    )
    layers = alt.layer(line, points.add_params(pick))
    return specification(layers.properties(height=HEIGHT, width="container"))
