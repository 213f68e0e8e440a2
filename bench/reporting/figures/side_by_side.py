"""Quality, speed and memory side by side: a line of the figure for each architecture."""

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
from bench.reporting.figures.style import FAINT, FONT, new_figure
from bench.reporting.figures.tables import QUALITY, Group

MAX_ROWS = 40
BARS: Any = {"width": 0.72, "saturation": 1}
BATCHED = "decode_batched"


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


MEASURES = {
    QUALITY: Measure("Quality", "bits per byte", True, format_fixed),
    TRAIN_RATE: Measure("Training", "tokens/s", False, format_large),
    DECODE_RATE: Measure("Decoding, one text", "tokens/s", False, format_large),
    BATCHED: Measure("Decoding, {batch} texts", "tokens/s", False, format_large),
    TRAINING_MEMORY: Measure("Training memory", "bytes", True, format_bytes),
    "state_bytes": Measure("State at full context", "bytes", True, format_bytes),
}


def side_by_side(group: Group) -> Figure | None:
    """Return the figure of a comparison; None where no row has two of the measures."""
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
        draw_measure(axes, MEASURES[name], rows.rename_axis("label").reset_index(), group)
    return figure


def measured_values(group: Group) -> pd.DataFrame:
    """Return label, measure, value, low, high and batch: finite values alone."""
    rows = group.rows
    tables = [_batched(group)]
    for name in MEASURES:
        if name in rows:
            ends = {f"{name}_low": "low", f"{name}_high": "high", name: "value"}
            table = rows.reindex(columns=["label", *ends]).rename(columns=ends)
            tables.append(table.assign(measure=name))
    table = pd.concat(tables, ignore_index=True)
    table = table.merge(_rate_intervals(group), on=["label", "measure"], how="left")
    numbers = "batch value low high rate_low rate_high".split()
    table = table.reindex(columns=["label", "measure", *numbers])
    table = table.astype(dict.fromkeys(numbers, float))
    low, high = (table[end].fillna(table[f"rate_{end}"]) for end in ("low", "high"))
    return table.assign(low=low, high=high)[np.isfinite(table["value"])]


def _batched(group: Group) -> pd.DataFrame:
    """Return the decoding speeds at the largest measured batch."""
    rows = group.speeds
    rows = rows[(rows["metric"] == DECODE_RATE) & (rows["axis"] == "batch")]
    rows = rows[rows["x"] == rows["x"].max()]
    return (
        rows[["label", "median", "x"]]
        .rename(columns={"median": "value", "x": "batch"})
        .assign(measure=BATCHED)
    )


def _rate_intervals(group: Group) -> pd.DataFrame:
    """Return the intervals of the ratios to the reference, relative to each median."""
    rows = group.speeds[group.speeds["axis"] == ""]
    unit = rows["median"] / rows["ratio_to_reference"]
    table = pd.DataFrame({"label": rows["label"], "measure": rows["metric"]})
    return table.assign(rate_low=rows["low"] * unit, rate_high=rows["high"] * unit)


def draw_measure(axes: Axes, measure: Measure, rows: pd.DataFrame, group: Group) -> None:
    """Draw a panel: bars from zero, or points where a zero would hide the differences."""
    ends = rows[["value", "low", "high"]].to_numpy(dtype=float)
    least, most = np.nanmin(ends), np.nanmax(ends)
    style: Any = {"x": "value", "y": "label", "hue": "label", "palette": group.palette}
    if measure is MEASURES[QUALITY]:
        sns.stripplot(rows, jitter=False, size=5, legend=False, ax=axes, **style)
        room = most - least or 1.0
        axes.set_xlim(least - 0.08 * room, most + 0.6 * room)
    else:
        sns.barplot(rows, errorbar=None, legend=False, ax=axes, **BARS, **style)
        axes.set_xlim(0, 1.5 * most or 1.0)
    _write_values(axes, measure, ends)
    axes.set_title(title_of(measure, rows))
    _simplify_axes(axes, measure)


def _simplify_axes(axes: Axes, measure: Measure) -> None:
    axes.set_ylabel("")
    axes.set_xlabel(measure.axis_label, fontsize=FONT - 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def title_of(measure: Measure, rows: pd.DataFrame) -> str:
    """Return the title of a panel, with how many texts were decoded at once."""
    return measure.title.format(batch=f"{rows['batch'].max():g}")


def _write_values(axes: Axes, measure: Measure, ends: NDArray[np.float64]) -> None:
    """Draw intervals, and write values right of them; `ends`: value, low and high of each row."""
    places = np.flatnonzero(np.isfinite(ends[:, 1:]).all(axis=1))
    axes.hlines(places, *ends[places, 1:].T, color=FAINT, lw=1)
    for y, row in enumerate(ends):
        is_known = np.isfinite(row[0])
        text, x = (measure.show(row[0]), np.nanmax(row)) if is_known else ("—", axes.get_xlim()[0])
        axes.annotate(
            text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=FONT - 1.5
        )
