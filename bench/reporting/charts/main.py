"""What all charts share, and those that are not folded: rows side by side, curves, trade-offs."""

from typing import Any

import altair as alt

COLOUR = alt.Color("colour:N", scale=None)
DASH = alt.StrokeDash("dash:N", scale=None)
SHAPE = alt.Shape("shape:N", scale=None)
NUMBER = "format(datum.value, abs(datum.value) < 1 ? '.3~g' : '~s')"  # 0.7 is no 700m
AXIS = alt.Axis(labelExpr=NUMBER, tickCount=6, labelOverlap="greedy", labelSeparation=8)
FAINT, INK = alt.expr("faint"), alt.expr("ink")  # parameters that the theme sets
LABEL_FONT = 11  # of names beside the plot
ZOOM = alt.selection_interval(
    name="zoom",
    bind="scales",
    zoom="wheel![event.ctrlKey]",  # as a pinch does; a plain wheel scrolls the page
)
HEIGHT = 300
ROW_HEIGHT, PANEL_WIDTH, NUMBER_WIDTH = 20, 110, 62  # pixels; the script fits the width
CELL = 22  # of the matrix
KINDS = {  # what the row is, compared with the column
    "better": "#1b7837",
    "worse": "#8c510a",
    "one seed decides": "#7a5ea8",
    "not distinguishable": "#6f6f6f",
    "no verdict": "#b8b8b8",
}


def chart(data: str, *conditions: Any) -> alt.Chart:
    """Return a chart of a dataset of the page, of the rows that meet all conditions."""
    made = alt.Chart(alt.NamedData(data))
    for condition in conditions:
        made = made.transform_filter(condition)
    return made


def scale(kind: Any = "linear", zero: bool = False, **more: Any) -> alt.Scale:
    """Return a scale that ends at its data."""
    return alt.Scale(type=kind, zero=zero, nice=False, **more)


def tooltip(**titles: str) -> list[alt.Tooltip]:
    """Return a tooltip of fields and their titles; fields hold texts."""
    return [alt.Tooltip(field=field, type="nominal", title=name) for field, name in titles.items()]


def hovered(field: str) -> alt.Parameter:
    """Return the selection of what is nearest to the pointer, by a field."""
    return alt.selection_point(
        name="pick", on="pointerover", clear="pointerout", nearest=True, fields=[field], empty=False
    )


def levels(data: str) -> alt.Chart:
    """Return horizontal reference lines with their names on hover: `name`, `value`."""
    drawn = chart(data).mark_rule(strokeDash=[2, 3], color=FAINT, clip=True)
    return drawn.encode(y=alt.Y("value:Q", title=None), tooltip=tooltip(name="baseline"))


def names(data: str) -> alt.Chart:
    """Return the names that the script places: `x`, `y` in pixels, `label`, `colour`."""
    drawn = chart(data).mark_text(
        align="left", baseline="middle", dx=7, fontSize=LABEL_FONT, limit=145, clip=False
    )  # names are beside the plot
    x, y = alt.X("x:Q", scale=None, axis=None), alt.Y("y:Q", scale=None, axis=None)
    return drawn.encode(x, y, COLOUR, text="label:N")


def lines(
    data: str, xy: tuple[alt.X, alt.Y], pick: alt.Parameter, detail: str, about: Any, clip: bool
) -> tuple[alt.Chart, alt.Chart]:
    """Return lines, the hovered one thicker, and their points, of which only its own are seen."""
    width = alt.condition(pick, alt.value(3.5), alt.value(1.6))
    shown = alt.condition(pick, alt.value(1), alt.value(0))
    line = chart(data).mark_line(clip=clip).encode(*xy, DASH, COLOUR, detail=detail)
    points = chart(data).mark_point(size=40, filled=True, clip=clip)
    points = points.encode(*xy, COLOUR, opacity=shown, tooltip=about)
    return line.encode(strokeWidth=width), points


def specification(made: Any, **params: Any) -> dict[str, Any]:
    """Return the Vega-Lite JSON of a chart with parameters that the page's script sets."""
    shared = {"faint": "#777", "ink": "#111"} | params
    made = made.add_params(*(alt.param(name=name, value=value) for name, value in shared.items()))
    spec: dict[str, Any] = made.to_dict()
    return {key: value for key, value in spec.items() if key not in ("$schema", "config")}


def side_by_side(panels: tuple[tuple[str, str, bool], ...]) -> dict[str, Any]:
    """Return panels of a line per row: name of the measure, title, whether it starts at zero."""
    drawn = [_panel(number == 0, *panel) for number, panel in enumerate(panels)]
    return specification(alt.hconcat(*drawn, spacing=NUMBER_WIDTH, bounds="flush"))


def _panel(is_first: bool, metric: str, title: str, from_zero: bool) -> Any:
    axis = alt.Axis(title=None, ticks=False, domain=False, labelLimit=170, labelPadding=6)
    order = alt.EncodingSortField("order", op="min")
    y = alt.Y("label:N", sort=order, axis=axis if is_first else None)
    base = chart("panels", f"datum.panel === '{metric}'").encode(y=y)
    about = tooltip(label="architecture", title="measure", text="value",
                    interval="95 % interval", ratio="to the reference row")  # fmt: skip
    low = alt.X("low:Q", title=title)
    number = base.mark_text(align="left", dx=6, color=INK)
    layers = alt.layer(
        _values(base, title, from_zero).encode(COLOUR, tooltip=about),
        base.mark_rule(strokeWidth=1.5).encode(low, COLOUR, x2="high:Q"),
        number.encode(x=alt.value("width"), text="text:N", tooltip=about),
    )
    return layers.properties(width=PANEL_WIDTH, height=alt.Step(ROW_HEIGHT))


def _values(base: alt.Chart, title: str, from_zero: bool) -> alt.Chart:
    """Return bars from zero, or points where a zero would hide the differences."""
    if from_zero:
        made = base.mark_bar(opacity=0.55, height={"band": 0.6})
        ends, ticks = scale(zero=True), alt.Axis(tickCount=3, labelExpr=NUMBER)
    else:
        made = base.mark_point(filled=True, size=55, opacity=1)
        ends, ticks = scale(padding=8), alt.Axis(tickCount=3)
    return made.encode(alt.X("value:Q", title=title, scale=ends, axis=ticks))


def loss_curves() -> dict[str, Any]:
    """Return the chart of `curves`: x, y, low and high of lines that the script has averaged."""
    pick, title = hovered("line"), "nats per token"
    limits = scale(domainMin=alt.expr("bottom"), domainMax=alt.expr("top"))
    x = alt.X("x:Q", title=None, axis=AXIS, scale=scale())
    y = alt.Y("y:Q", title=title, scale=limits)
    band = chart("curves").mark_area(opacity=0.15, clip=True)
    band = band.encode(x, alt.Y("low:Q", title=title), COLOUR, y2="high:Q", detail="line:N")
    about = tooltip(label="architecture", seeds="seed", at="at", text="loss")
    line, points = lines("curves", (x, y), pick, "line:N", about, clip=True)
    layers = [levels("curve levels"), band, line, points.add_params(pick, ZOOM)]
    layered = alt.layer(*layers, names("curve names")).properties(height=HEIGHT)
    return specification(layered, bottom=0, top=1)


def tradeoff() -> dict[str, Any]:
    """Return the chart of `points`: x and y with their ends; `front` is the Pareto front."""
    pick, ends = hovered("key"), scale(padding=12)
    x, y = alt.X("x:Q", title=None, scale=ends, axis=AXIS), alt.Y("y:Q", title=None, scale=ends)
    front = chart("front").mark_line(strokeDash=[4, 3], strokeWidth=1, color=FAINT)
    rules = chart("points").mark_rule(opacity=0.6)
    name = chart("points", pick, "!datum.named")  # the others have names already
    name = name.mark_text(align="left", dx=9, dy=-9, fontWeight="bold", clip=False)
    layers = alt.layer(
        front.encode(x, y, order="order:Q"),
        levels("point levels"),
        rules.encode(x, alt.Y("ylow:Q", title=None), COLOUR, y2="yhigh:Q"),
        rules.encode(alt.X("xlow:Q", title=None), y, COLOUR, x2="xhigh:Q"),
        _dots(pick).encode(x, y),
        name.encode(x, y, COLOUR, text="label:N"),
        names("point names"),
    )
    return specification(layers.properties(height=HEIGHT))


def _dots(pick: alt.Parameter) -> alt.Chart:
    about = tooltip(
        label="architecture", quality="quality", quality_interval="95 % interval",
        measure="measure", measure_interval="95 % interval", ratio="measure, to the reference row",
    )  # fmt: skip
    size = alt.condition(pick, alt.value(160), alt.value(70))
    dots = chart("points").mark_point(filled=True, opacity=1).add_params(pick, ZOOM)
    return dots.encode(COLOUR, SHAPE, size=size, tooltip=about)


def verdict_matrix() -> dict[str, Any]:
    """Return the chart of `pairs`: label, other, their order, kind, mark, sentence, p, wins."""

    def axis(**more: Any) -> alt.Axis:
        return alt.Axis(title=None, ticks=False, domain=False, labelLimit=170, **more)

    first, second = (alt.EncodingSortField(name, op="min") for name in ("other_order", "order"))
    base = chart("pairs").encode(
        x=alt.X("other:N", sort=first, axis=axis(orient="top", labelAngle=-45)),
        y=alt.Y("label:N", sort=second, axis=axis()),
        tooltip=tooltip(
            label="row", other="column", sentence="verdict", p="p, corrected for all pairs",
            wins="share of seed pairs that the better row wins",
        ),
    )  # fmt: skip
    colours = alt.Scale(domain=[*KINDS], range=[*KINDS.values()])
    colour = alt.Color("kind:N", scale=colours, legend=alt.Legend(title="the row is (<: lower)"))
    cells = base.mark_rect(opacity=0.85).encode(color=colour)
    marks = base.mark_text(fontSize=11, color="white").encode(text="mark:N")
    step = alt.Step(CELL)
    return specification(alt.layer(cells, marks).properties(width=step, height=step))
