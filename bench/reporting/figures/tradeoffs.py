"""Quality against what it costs, with the rows that no other beats in both."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.sessions import DECODE_RATE, TRAIN_RATE, TRAINING_MEMORY
from bench.reporting.figures.side_by_side import (
    BATCHED,
    MEASURES,
    Measure,
    measured_values,
    title_of,
)
from bench.reporting.figures.style import FAINT, name_ends, new_figure, set_log
from bench.reporting.figures.tables import QUALITY, Group
from bench.stats import pareto_front

LINES = "vertical lines: 95 % intervals; stepped line: the Pareto front"
SPEED = (TRAIN_RATE, DECODE_RATE, BATCHED)
MEMORY = (TRAINING_MEMORY, "state_bytes")


def quality_against_speed(group: Group) -> Figure | None:
    """Return bits per byte against the speeds of training and decoding."""
    return _tradeoffs(group, SPEED)


def quality_against_memory(group: Group) -> Figure | None:
    """Return bits per byte against the memory of training and the bytes of state."""
    return _tradeoffs(group, MEMORY)


def _tradeoffs(group: Group, measures: tuple[str, ...]) -> Figure | None:
    tables = _scored(measured_values(group), measures)
    if not tables:
        return None
    rows = pd.concat(tables.values()).drop_duplicates("label")
    foot = f"{group.title} · {LINES}{group.naming(len(rows))}"
    figure, panels = new_figure(len(tables), foot, height=2.9, sharey=True)
    fronts: dict[str, None] = {}
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        fronts |= dict.fromkeys(_draw_points(axes, table, MEASURES[name], group))
    named = group.named(rows["label"], list(fronts))
    _name_rows(panels[-1], rows[rows["label"].isin(named)], group)
    return figure


def _name_rows(axes: Axes, rows: pd.DataFrame, group: Group) -> None:
    """Write the names of rows beside the last panel, at the height of their scores."""
    edge, levels = axes.get_xlim()[1], rows[["label", "score"]].to_numpy()
    name_ends(axes, [(name, edge, y, group.palette[name]) for name, y in levels])


def _scored(values: pd.DataFrame, measures: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Return by measure the values of rows with a score, where two have one.

    Columns: label, value, batch, and the score with its interval.
    """
    names = {"value": "score", "low": "score_low", "high": "score_high"}
    quality = values[values["measure"] == QUALITY].rename(columns=names)
    quality = quality.set_index("label")[[*names.values()]]
    tables = {
        name: values[values["measure"] == name].join(quality, on="label", how="inner")
        for name in measures
    }
    return {name: rows for name, rows in tables.items() if len(rows) > 1}


def _draw_points(axes: Axes, rows: pd.DataFrame, measure: Measure, group: Group) -> list[str]:
    """Draw a panel: points, their intervals and the Pareto front; return the labels on it."""
    x, y = rows[["value", "score"]].to_numpy(dtype=float).T
    set_log(axes, x)
    cost = x if measure.lower else -x
    front = np.lexsort((y, cost))
    front = front[pareto_front(cost, y)[front]]
    axes.step(x[front], y[front], color=FAINT, linewidth=0.8, where="post", zorder=1)
    axes.vlines(x, rows["score_low"], rows["score_high"], color=FAINT, linewidth=0.7)
    style: Any = {"hue": "label", "style": "label", "palette": group.palette, "legend": False}
    style |= {"markers": group.markers, "s": 34, "zorder": 3}
    sns.scatterplot(rows, x="value", y="score", ax=axes, **style)
    axes.set(title=title_of(measure, rows), xlabel=measure.axis_label, ylabel="bits per byte")
    return list(rows["label"].iloc[front])
