"""The charts of folded sections: small multiples, memory, saliency, preferences."""

from typing import Any

import altair as alt

from bench.reporting.charts.main import (
    COLOUR,
    DASH,
    INK,
    LABEL_FONT,
    NUMBER,
    SHAPE,
    chart,
    hovered,
    lines,
    scale,
    specification,
    tooltip,
)

WIDTH, HEIGHT, NAMES = 230, 180, 110  # of a panel and of the names beside it, pixels
BAR_HEIGHT, LINES_HEIGHT = 17, 260
PARTS = {"parameters": 1.0, "gradients": 0.78, "optimizer": 0.58, "activations": 0.4,
         "temporary": 0.22}  # fmt: skip  # what memory holds, and its opacity
SHARES, LOSSES = "lookback", "loss by position"  # names of the datasets
CONTEXT_TITLES = {
    SHARES: ("tokens back", "share of saliency within them"),
    LOSSES: ("tokens read before the predicted one", "nats per token"),
}
METHOD_DASHES = {"RLOO": [1, 0], "PPO": [8, 3, 2, 3], "DPO": [1, 3], "best of n": [5, 4]}


def panels(data: str, order: tuple[str, ...], log: str = "", base: int = 10) -> dict[str, Any]:
    """Return small multiples of a dataset: panel, x, y, low, high, point, at, text, name, name_y.

    `order`: of the panels. `log`: which axes are logarithmic, "", "x", "y" or "xy"; `base`: of x.
    """
    x = alt.X("x:Q", title=None, scale=_panel_scale("x" in log, base), axis=_panel_axis(base))
    y = alt.Y("y:Q", title=None, scale=_panel_scale("y" in log, 10), axis=_panel_axis(10))
    layers = _panel_layers(x, y).properties(width=WIDTH, height=HEIGHT)
    header = alt.Header(title=None, labelAnchor="start", labelFontWeight="bold", labelFontSize=12)
    facet = alt.Facet("panel:N", sort=list(order), header=header)
    facets = layers.facet(facet, columns=3, data=alt.NamedData(data))
    facets = facets.properties(spacing={"column": NAMES, "row": 24})
    return specification(facets.resolve_scale(x="independent", y="independent"))


def _panel_scale(is_log: bool, base: int) -> alt.Scale:
    return scale("log", padding=6, base=base) if is_log else scale(padding=6)


def _panel_axis(base: int) -> alt.Axis:
    shown: Any = {"format": "d"} if base == 2 else {"labelExpr": NUMBER}
    return alt.Axis(tickCount=4, labelOverlap=True, **shown)


def _panel_layers(x: Any, y: Any) -> Any:
    low, point, name = (alt.Y(f"{end}:Q", title=None) for end in ("low", "point", "name_y"))
    about = tooltip(label="architecture", at="at", text="value")
    made = alt.Chart().encode(x, COLOUR, detail="label:N")
    return alt.layer(
        made.mark_area(opacity=0.15).encode(low, y2="high:Q"),
        made.mark_line(strokeWidth=1.6).encode(y, DASH),
        made.mark_point(filled=True, size=40, opacity=1).encode(point, SHAPE, tooltip=about),
        made.mark_text(align="left", dx=7, fontSize=LABEL_FONT).encode(name, text="name:N"),
    )


def memory_bars() -> dict[str, Any]:
    """Return the chart of `memory-parts`: label, part, order of the part, bytes, text."""
    legend = alt.Legend(
        orient="top", title=None, columns=3, symbolFillColor=INK, symbolStrokeColor=INK
    )
    shades = alt.Scale(type="ordinal", domain=[*PARTS], range=[*PARTS.values()])
    axis = alt.Axis(format="~s", tickCount=6)
    bars = chart("memory-parts").mark_bar().encode(
        alt.X("bytes:Q", title="bytes at the peak of a training step", axis=axis),
        alt.Y("label:N", title=None, sort=alt.EncodingSortField("total", order="descending")),
        COLOUR,
        opacity=alt.Opacity("part:N", scale=shades, legend=legend),
        order="order:Q",
        tooltip=tooltip(label="architecture", part="holds", text="bytes"),
    )  # fmt: skip
    return specification(bars.properties(height={"step": BAR_HEIGHT}))


def context_chart(data: str) -> dict[str, Any]:
    """Return a line per row over tokens, on a log axis: `tokens`, `value`, `text` of the data."""
    pick, (x_title, y_title) = hovered("key"), CONTEXT_TITLES[data]
    x = alt.X("tokens:Q", title=x_title, scale=alt.Scale(type="log", base=2, nice=False))
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=data == SHARES, nice=False))
    about = tooltip(label="architecture", text=y_title)
    line, points = lines(data, (x, y), pick, "key:N", about, clip=False)
    layers = alt.layer(line, points.add_params(pick))
    return specification(layers.properties(height=LINES_HEIGHT, width="container"))


def preference_frontier(data: str, methods: list[str]) -> dict[str, Any]:
    """Return gold and proxy against √KL: `root`, `gain`, `proxy`, `method`, `label`, `end`."""
    about = tooltip(
        label="architecture", method="method", setting="setting", kl_text="KL",
        gain_text="gold above the start", proxy_text="proxy", seeds="seeds",
    )  # fmt: skip
    x, drawn = alt.X("root:Q", title="√KL, nats per response"), []
    dash = _method_dashes(methods)
    for field, title in (("gain", "gold above the start"), ("proxy", "proxy, log-odds")):
        y = alt.Y(f"{field}:Q", title=title)
        line = chart(data).mark_line(strokeWidth=1.5)
        dots = chart(data).mark_point(filled=True, size=45, opacity=1)
        name = chart(data, "datum.end !== ''").mark_text(align="left", dx=7, fontWeight="bold")
        layers = [
            line.encode(x, y, COLOUR, dash, detail="label:N", order="root:Q"),
            dots.encode(x, y, COLOUR, tooltip=about),
            name.encode(x, y, COLOUR, text="end:N"),
        ]
        drawn.append(alt.layer(*layers).properties(width=360, height=280))
    return specification(alt.hconcat(*drawn))


def _method_dashes(methods: list[str]) -> alt.StrokeDash:
    dashes = alt.Scale(domain=methods, range=[METHOD_DASHES[one] for one in methods])
    legend = alt.Legend(title=None, orient="top", symbolStrokeColor=INK, symbolSize=900)
    return alt.StrokeDash("method:N", scale=dashes, legend=legend)
