"""Quality, speed and memory: side by side, and quality against what it costs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from bench.analysis.formatting import format_bytes, format_fixed, format_large
from bench.analysis.sessions import DECODE_RATE, TRAIN_RATE, TRAINING_MEMORY
from bench.reporting.figures.style import FAINT, FONT, name_ends, new_figure, set_log
from bench.reporting.figures.tables import QUALITY, Group
from bench.stats import pareto_front

MAX_ROWS = 40
BATCHED = "decode_batched"
NUMBERS = "batch value low high rate_low rate_high".split()


class Measure(NamedTuple):
    """A panel: its title, its unit, whether less is better, and how values are written."""

    title: str
    unit: str
    lower: bool
    show: Callable[[float], str]

    @property
    def axis_label(self) -> str:
        """Return the label of its axis."""
        return f"{self.unit} ({'lower' if self.lower else 'higher'} is better)"

    def title_of(self, rows: pd.DataFrame) -> str:
        """Return the title of its panel, with how many texts were decoded at once."""
        return self.title.format(batch=f"{rows['batch'].max():g}")


MEASURES = {
    QUALITY: Measure("Quality", "bits per byte", True, format_fixed),
    TRAIN_RATE: Measure("Training", "tokens/s", False, format_large),
    DECODE_RATE: Measure("Decoding, one text", "tokens/s", False, format_large),
    BATCHED: Measure("Decoding, {batch} texts", "tokens/s", False, format_large),
    TRAINING_MEMORY: Measure("Training memory", "bytes", True, format_bytes),
    "state_bytes": Measure("State at full context", "bytes", True, format_bytes),
}


def measured_values(group: Group) -> pd.DataFrame:
    """Return label, measure, value, low, high and batch: finite values alone."""
    tables = [_batched(group.speeds)]
    for name in (name for name in MEASURES if name in group.rows):
        ends = {f"{name}_low": "low", f"{name}_high": "high", name: "value"}
        table = group.rows.reindex(columns=["label", *ends]).rename(columns=ends)
        tables.append(table.assign(measure=name))
    rates, keys = _rate_intervals(group.speeds), ["label", "measure"]
    table = pd.concat(tables, ignore_index=True).merge(rates, on=keys, how="left")
    table = table.reindex(columns=[*keys, *NUMBERS]).astype(dict.fromkeys(NUMBERS, float))
    low, high = (table[end].fillna(table[f"rate_{end}"]) for end in ("low", "high"))
    return table.assign(low=low, high=high)[np.isfinite(table["value"])]


def _batched(speeds: pd.DataFrame) -> pd.DataFrame:
    """Return the decoding speeds at the largest measured batch."""
    rows = speeds[(speeds["metric"] == DECODE_RATE) & (speeds["axis"] == "batch")]
    rows = rows.loc[rows["x"] == rows["x"].max(), ["label", "median", "x"]]
    return rows.rename(columns={"median": "value", "x": "batch"}).assign(measure=BATCHED)


def _rate_intervals(speeds: pd.DataFrame) -> pd.DataFrame:
    """Return the intervals of the ratios to the reference, relative to each median."""
    rows = speeds[speeds["axis"] == ""]
    unit = rows["median"] / rows["ratio_to_reference"]
    table = pd.DataFrame({"label": rows["label"], "measure": rows["metric"]})
    return table.assign(rate_low=rows["low"] * unit, rate_high=rows["high"] * unit)


def side_by_side(group: Group) -> Figure | None:
    """Return a line of the figure for each row; None where no row has two of the measures."""
    values = measured_values(group)
    shown = [name for name in MEASURES if name in set(values["measure"])]
    if len(shown) < 2:
        return None
    labels = list(group.rows["label"][:MAX_ROWS])
    left = len(group.rows) - len(labels)
    foot = f"{group.title} · lines: 95 % intervals; of speeds, of the ratio to the reference"
    foot += f" · {left} further rows are in summary.csv" if left else ""
    height = 0.2 * len(labels) + 0.9
    figure, panels = new_figure(len(shown), foot, height=height, sharey=True)
    figure.set_figwidth(1.55 * len(shown) + 1.2)
    for axes, name in zip(panels, shown, strict=True):
        rows = values[values["measure"] == name].set_index("label").reindex(labels)
        _draw_measure(axes, MEASURES[name], rows.rename_axis("label").reset_index(), group)
    return figure


def _draw_measure(axes: Axes, measure: Measure, rows: pd.DataFrame, group: Group) -> None:
    """Draw a panel: bars from zero, or points where a zero would hide the differences."""
    ends = rows[["value", "low", "high"]].to_numpy(dtype=float)
    least, most = np.nanmin(ends), np.nanmax(ends)
    style: Any = {"x": "value", "y": "label", "hue": "label", "palette": group.palette}
    style |= {"legend": False, "ax": axes}
    if measure is MEASURES[QUALITY]:
        sns.stripplot(rows, jitter=False, size=5, **style)
        room = most - least or 1.0
        axes.set_xlim(least - 0.08 * room, most + 0.6 * room)
    else:
        sns.barplot(rows, errorbar=None, width=0.72, saturation=1, **style)
        axes.set_xlim(0, 1.5 * most or 1.0)
    _write_values(axes, measure, ends)
    axes.set(title=measure.title_of(rows), ylabel="")
    _simplify_axes(axes, measure)


def _simplify_axes(axes: Axes, measure: Measure) -> None:
    axes.set_xlabel(measure.axis_label, fontsize=FONT - 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _write_values(axes: Axes, measure: Measure, ends: NDArray[np.float64]) -> None:
    """Draw intervals, and write values right of them; `ends`: value, low and high of each row."""
    places = np.flatnonzero(np.isfinite(ends[:, 1:]).all(axis=1))
    axes.hlines(places, *ends[places, 1:].T, color=FAINT, lw=1)
    style: Any = {"textcoords": "offset points", "va": "center", "fontsize": FONT - 1.5}
    for y, row in enumerate(ends):
        is_known = np.isfinite(row[0])
        text, x = (measure.show(row[0]), np.nanmax(row)) if is_known else ("—", axes.get_xlim()[0])
        axes.annotate(text, (x, y), (3, 0), **style)


def quality_against_speed(group: Group) -> Figure | None:
    """Return bits per byte against the speeds of training and decoding."""
    return _tradeoffs(group, (TRAIN_RATE, DECODE_RATE, BATCHED))


def quality_against_memory(group: Group) -> Figure | None:
    """Return bits per byte against the memory of training and the bytes of state."""
    return _tradeoffs(group, (TRAINING_MEMORY, "state_bytes"))


def _tradeoffs(group: Group, measures: tuple[str, ...]) -> Figure | None:
    tables = _scored(measured_values(group), measures)
    if not tables:
        return None
    rows = pd.concat(tables.values()).drop_duplicates("label")
    about = "vertical lines: 95 % intervals; stepped line: the Pareto front"
    foot = f"{group.title} · {about}{group.naming(len(rows))}"
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
    """Return by measure the values of rows with a score and its interval, where two have one."""
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
    title = measure.title_of(rows)
    axes.set(title=title, xlabel=measure.axis_label, ylabel="bits per byte")
    return list(rows["label"].iloc[front])
