"""Lines over training tokens, over the context and over the length of what is measured."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from bench.analysis.sessions import DECODE_RATE, DECODE_TIME, EAGER_RATE, FIRST_TOKEN, TRAIN_RATE
from bench.reporting.figures.style import FAINT, name_ends, new_figure, set_lengths, set_log
from bench.reporting.figures.tables import Group

POINTS = {"marker": "o", "markersize": 4}
End = tuple[str, float, float, str]  # of a line: name, x, y, colour
FALL = 0.1  # of the tokens: the steep first part of a curve may leave the frame
LOSSES = {"nats": "Training loss", "validation_nats": "Held-out loss"}
OBJECTIVES = {"causal": "nats per token", "masked": "nats per masked token"}
BANDS = "lines: means over seeds, bands: lowest to highest seed"
CONTEXTS = {
    "context": ("Loss by allowed context", "tokens that may be read"),
    "position": ("Loss by position", "position in the context"),
}
SPEEDS = {  # metric and axis: title, label of y, of x
    (TRAIN_RATE, "length"): ("Training speed", "tokens/s", "tokens of context"),
    (FIRST_TOKEN, "length"): ("Time to the first token", "seconds", "tokens of prompt"),
    (DECODE_TIME, "length"): ("Time of a further token", "seconds", "tokens already read"),
    (DECODE_RATE, "batch"): ("Decoding speed", "tokens/s", "texts at once"),
}


def learning_curves(group: Group) -> Figure | None:
    """Return training and held-out loss over training tokens, a row for each objective."""
    curves = group.curves
    kinds = [kind for kind in OBJECTIVES if (curves["objective"] == kind).any()]
    if not kinds:
        return None
    foot = f"{group.title} · {BANDS}{group.naming(curves['label'].nunique())}"
    figure, panels = new_figure(len(LOSSES), foot, rows=len(kinds))
    for number, kind in enumerate(kinds):
        rows = curves[curves["objective"] == kind]
        for column, axes in zip(LOSSES, panels[2 * number :], strict=False):
            _draw_loss(axes, rows[np.isfinite(rows[column])], column, group)
            axes.set(title=LOSSES[column], xlabel="training tokens", ylabel=OBJECTIVES[kind])
    return figure


def _draw_loss(axes: Axes, rows: pd.DataFrame, column: str, group: Group) -> None:
    if rows.empty:
        return
    last = rows["tokens"].max()
    late = rows.loc[rows["tokens"] >= FALL * last, column]
    low, high = rows[column].min(), late.max()
    axes.set(xlim=(0, last), ylim=(low - 0.04 * (high - low) - 1e-9, high + 0.04 * (high - low)))
    ends = _draw_lines(axes, _over_seeds(rows, "tokens", column), group)
    name_ends(axes, ends if column == list(LOSSES)[-1] else [])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _over_seeds(rows: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Return label, x, y, low and high: the mean over seeds at each place, and their extremes."""
    groups = rows.groupby(["label", x], sort=True)[y]
    table = groups.agg(y="mean", low="min", high="max").reset_index()
    return table.rename(columns={x: "x"})


def _draw_lines(axes: Axes, table: pd.DataFrame, group: Group, **options: Any) -> list[End]:
    """Draw a line in its band for each label; return the ends of the lines that have a name.

    `table`: as of `_over_seeds`. Of many lines those of the best quality are named, others grey.
    """
    table = table.sort_values("x")
    best = group.named(table["label"])
    others, lines = table[~table["label"].isin(best)], table[table["label"].isin(best)]
    common: Any = {"x": "x", "y": "y", "estimator": None, "legend": False, "ax": axes}
    if len(others):
        sns.lineplot(others, units="label", color=FAINT, alpha=0.35, linewidth=0.7, **common)
    dashes = {label: group.styles[label].dash or "" for label in best}
    style: Any = {"hue": "label", "style": "label", "palette": group.palette, "dashes": dashes}
    sns.lineplot(lines, **style, **common, **options)
    _draw_bands(axes, lines.dropna(subset=["low"]), group)
    return _ends(lines, group)


def _ends(lines: pd.DataFrame, group: Group) -> list[End]:
    ends = lines.groupby("label").tail(1)[["label", "x", "y"]].to_numpy()
    return [(str(name), x, y, group.palette[name]) for name, x, y in ends]


def _draw_bands(axes: Axes, lines: pd.DataFrame, group: Group) -> None:
    for label, line in lines.groupby("label"):
        band: Any = {"color": group.palette[str(label)], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(line["x"], line["low"], line["high"], **band)


def loss_by_context(group: Group) -> Figure | None:
    """Return the loss by how many tokens may be read, and by position in the context."""
    contexts = group.contexts
    axis_names = [axis for axis in CONTEXTS if _has_line(contexts, axis)]
    if not axis_names:
        return None
    foot = f"{group.title} · {BANDS}{group.naming(contexts['label'].nunique())}"
    figure, panels = new_figure(len(axis_names), foot)
    for axis, axes in zip(axis_names, panels, strict=True):
        rows, (title, label) = contexts[contexts["axis"] == axis], CONTEXTS[axis]
        set_lengths(axes, rows["x"])
        name_ends(axes, _draw_lines(axes, _over_seeds(rows, "x", "nats"), group, **POINTS))
        axes.set(title=title, xlabel=label, ylabel="nats per token")
    return figure


def _has_line(rows: pd.DataFrame, axis: str) -> bool:
    places = rows[rows["axis"] == axis].groupby("label")["x"].nunique()
    return bool(len(places)) and bool(places.max() > 1)


def speed_by_length(group: Group) -> Figure | None:
    """Return speeds over the length of the context and over the batch."""
    tables = {key: _curve(group.speeds, *key) for key in SPEEDS}
    shown = {key: table for key, table in tables.items() if _has_line(table, key[1])}
    if not shown:
        return None
    machine = ", ".join(sorted(set(group.speeds["machine"].astype(str))))
    foot = f"{group.title} · medians on machine {machine}, bands: 95 % intervals"
    foot += group.naming(group.speeds["label"].nunique())
    figure, panels = new_figure(2, foot, rows=(len(shown) + 1) // 2)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for (key, table), axes in zip(shown.items(), panels, strict=False):
        _draw_speed(axes, table, SPEEDS[key], group)
    return figure


def _draw_speed(axes: Axes, table: pd.DataFrame, about: tuple[str, ...], group: Group) -> None:
    title, unit, label = about
    set_lengths(axes, table["x"])
    set_log(axes, table["y"], "s" if unit == "seconds" else "", axis="y")
    name_ends(axes, _draw_lines(axes, table, group, **POINTS))
    axes.set(title=title, xlabel=label, ylabel=unit)


def _curve(speeds: pd.DataFrame, metric: str, axis: str) -> pd.DataFrame:
    """Return the points of a metric along an axis; one text at once is a batch of 1."""
    rows = speeds[(speeds["metric"] == metric) & (speeds["axis"] == axis)]
    if axis == "batch":  # larger batches decode through the eager step
        eager = EAGER_RATE if (speeds["metric"] == EAGER_RATE).any() else metric
        rows = pd.concat([speeds[(speeds["metric"] == eager) & (speeds["axis"] == "")], rows])
    rows = rows[rows["median"] > 0]
    ends = {"y": "median", "low": "median_low", "high": "median_high"}
    return rows.assign(x=rows["x"].fillna(1.0), axis=axis, **{n: rows[c] for n, c in ends.items()})
