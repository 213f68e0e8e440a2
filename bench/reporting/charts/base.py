"""What all charts share: named data, the style of a row, hovering, zooming and names."""

from typing import Any

import altair as alt

COLOUR = alt.Color("colour:N", scale=None)
DASH = alt.StrokeDash("dash:N", scale=None)
SHAPE = alt.Shape("shape:N", scale=None)
AXIS = alt.Axis(format="~s", tickCount=6, labelOverlap="greedy", labelSeparation=8)
FAINT, INK = alt.expr("faint"), alt.expr("ink")  # parameters that the theme sets
LABEL_FONT = 11  # of names beside the plot
ZOOM = alt.selection_interval(
    name="zoom",
    bind="scales",
    zoom="wheel![event.ctrlKey]",  # as a pinch does; a plain wheel scrolls the page
)


def chart(data: str, *filters: str) -> alt.Chart:
    """Return a chart of a dataset of the page; `filters`: Vega expressions that all hold."""
    made = alt.Chart(alt.NamedData(data))
    for condition in filters:
        made = made.transform_filter(condition)
    return made


def tooltip(*fields: tuple[str, str]) -> list[alt.Tooltip]:
    """Return a tooltip of (field, title) pairs; fields hold texts."""
    return [alt.Tooltip(field=field, type="nominal", title=title) for field, title in fields]


def hovered(field: str) -> alt.Parameter:
    """Return the selection of what is nearest to the pointer, by a field."""
    return alt.selection_point(
        name="pick", on="pointerover", clear="pointerout", nearest=True, fields=[field], empty=False
    )


def levels(data: str) -> alt.Chart:
    """Return horizontal reference lines with their names on hover: `name`, `value`."""
    drawn = chart(data).mark_rule(strokeDash=[2, 3], color=FAINT, clip=True)
    return drawn.encode(y=alt.Y("value:Q", title=None), tooltip=tooltip(("name", "baseline")))


def names(data: str) -> alt.Chart:
    """Return the names that the script places: `x`, `y` in pixels, `label`, `colour`."""
    text: Any = {
        "align": "left",
        "baseline": "middle",
        "dx": 7,
        "fontSize": LABEL_FONT,
        "limit": 110,
    }
    drawn = chart(data).mark_text(**text, clip=False)  # names are beside the plot
    places = {
        "x": alt.X("x:Q", scale=None, axis=None),
        "y": alt.Y("y:Q", scale=None, axis=None),
    }
    return drawn.encode(**places, text="label:N", color=COLOUR)


def specification(made: Any, **params: Any) -> dict[str, Any]:
    """Return the Vega-Lite JSON of a chart with parameters that the page's script sets."""
    shared = {"faint": "#777", "ink": "#111"} | params
    made = made.add_params(*(alt.param(name=name, value=value) for name, value in shared.items()))
    spec: dict[str, Any] = made.to_dict()
    return {key: value for key, value in spec.items() if key not in ("$schema", "config")}
