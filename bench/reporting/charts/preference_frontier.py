"""Gold and proxy against the root of KL: a line per architecture and method, best of n dashed."""

from functools import cache
from typing import Any

import altair as alt

from bench.reporting.charts.base import COLOUR, chart, specification, tooltip

HEIGHT, WIDTH = 280, 360
DASHES = {"rloo": [], "ppo": [6, 2], "dpo": [1, 3], "best_of": [5, 4]}
ABOUT = tooltip(
    ("label", "architecture"), ("method", "method"), ("setting", "setting"), ("kl_text", "KL"),
    ("gain_text", "gold above the start"), ("proxy_text", "proxy"), ("seeds", "seeds"),
)  # fmt: skip


@cache
def preference_frontier(data: str) -> dict[str, Any]:
    """Return the chart of a dataset: `root`, `gain`, `proxy`, `method`, `label`, `colour`."""
    panels = [
        _panel(data, "gain", "gold above the start"),
        _panel(data, "proxy", "proxy, log-odds"),
    ]
    return specification(alt.hconcat(*panels))


def _panel(data: str, field: str, title: str) -> Any:
    x = alt.X("root:Q", title="√KL, nats per response")
    y = alt.Y(f"{field}:Q", title=title)
    lines = [
        chart(data, f"datum.method === '{method}'")
        .mark_line(strokeDash=dash, strokeWidth=1.5)
        .encode(x, y, COLOUR, detail="label:N", order="root:Q")
        for method, dash in DASHES.items()
    ]
    dots = chart(data).mark_point(filled=True, size=45, opacity=1)
    dots = dots.encode(x, y, COLOUR, tooltip=ABOUT)
    name = chart(data, "datum.end !== ''").mark_text(align="left", dx=7, fontWeight="bold")
    name = name.encode(x, y, COLOUR, text="end:N")
    return alt.layer(*lines, dots, name).properties(width=WIDTH, height=HEIGHT)
