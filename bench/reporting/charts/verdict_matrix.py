"""A cell per pair of rows: which is better, and the sentence on hover."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import chart, specification, tooltip

KINDS = {  # what the row is, compared with the column
    "better": "#1b7837",
    "worse": "#8c510a",
    "one seed decides": "#7a5ea8",
    "not distinguishable": "#6f6f6f",
    "no verdict": "#6f6f6f",
}
CELL = 22
ABOUT = tooltip(
    ("label", "row"),
    ("other", "column"),
    ("sentence", "verdict"),
    ("p", "p, corrected for all pairs"),
    ("wins", "share of seed pairs that the better row wins"),
)


@cache
def verdict_matrix() -> dict[str, Any]:
    """Return the chart of `pairs`: label, other, their order, kind, mark, sentence, p, wins."""
    base = chart("pairs").encode(
        x=alt.X("other:N", sort=_by("other_order"), axis=_axis(orient="top", labelAngle=-45)),
        y=alt.Y("label:N", sort=_by("order"), axis=_axis()),
        tooltip=ABOUT,
    )
    scale = alt.Scale(domain=[*KINDS], range=[*KINDS.values()])
    colour = alt.Color("kind:N", scale=scale, legend=alt.Legend(title="the row is"))
    cells = base.mark_rect(opacity=0.85).encode(color=colour)
    marks = base.mark_text(fontSize=11, color="white").encode(text="mark:N")
    layers = alt.layer(cells, marks).properties(width=alt.Step(CELL), height=alt.Step(CELL))
    return specification(layers)


def _by(field: str) -> alt.EncodingSortField:
    return alt.EncodingSortField(field, op="min")


def _axis(**more: Any) -> alt.Axis:
    return alt.Axis(title=None, ticks=False, domain=False, labelLimit=170, **more)
