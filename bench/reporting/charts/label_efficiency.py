"""The score of a task against the number of training examples, and against the base's loss."""

from typing import Any

import altair as alt

from bench.reporting.charts.base import chart, specification, tooltip

HEIGHT = 260
EFFICIENCY, BASES = "label efficiency", "pre-training and score"  # names of the datasets


def label_efficiency(task: str, title: str) -> dict[str, Any]:
    """Return the chart of one task: `examples`, `value`, `low` and `high` by `label` and `arm`."""
    rows = chart(EFFICIENCY).transform_filter(alt.datum.task == task)
    x = alt.X("examples:Q", title="training examples", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    colour = alt.Color("label:N", title=None)
    dash = alt.StrokeDash("arm:N", title=None)
    about = tooltip(("label", "architecture"), ("arm", "start"), ("examples", "examples"),
                    ("value", title))  # fmt: skip
    band = rows.mark_area(opacity=0.12).encode(
        x, alt.Y("low:Q", title=title), colour, y2="high:Q", detail="arm:N"
    )
    lines = rows.mark_line(point=True).encode(x, y, colour, dash, tooltip=about)
    return specification(alt.layer(band, lines).properties(height=HEIGHT, width="container"))


def base_quality(task: str, title: str) -> dict[str, Any]:
    """Return the chart of one task: `value` against `bits` by `label`, a point per seed."""
    rows = chart(BASES).transform_filter(alt.datum.task == task)
    x = alt.X("bits:Q", title="pre-training, bits per byte", scale=alt.Scale(zero=False))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    about = tooltip(("label", "architecture"), ("seed", "seed"), ("bits", "bits per byte"),
                    ("value", title))  # fmt: skip
    points = rows.mark_point(filled=True).encode(
        x, y, alt.Color("label:N", title=None), tooltip=about
    )
    return specification(points.properties(height=HEIGHT, width="container"))
