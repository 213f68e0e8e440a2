"""Plots of learning-rate searches: scores against the rate, and what fewer trials would give."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.searches import Search
from bench.reporting.plots.base import (
    EmptyPlot,
    Plot,
    colour,
    draw_lines,
    make_plot,
    pad_y,
    set_log,
)
from bench.reporting.plots.labels import Label

ABOUT_RATES = (
    "Ring: the best. × at the top: diverged. Poor trials are above the frame; controls are in the "
    "table only."
)
ABOUT_BEST = (
    "The mean best of so many trials, drawn without replacement. The steep first phase is above "
    "the frame."
)


def tuning_plots(name: str, searches: Sequence[Search], unit: str) -> list[Plot]:
    """Return both plots; a control is drawn only where there is nothing else."""
    shown = [search for search in searches if not search.is_control] or searches
    title = f"{unit.capitalize()} against learning rate"
    return [
        make_plot(f"{name}-rates", title, ABOUT_RATES, partial(_draw_rates, shown, unit)),
        make_plot(
            f"{name}-best",
            "Expected best against number of trials",
            ABOUT_BEST,
            partial(_draw_best, shown, unit),
        ),
    ]


def _table(search: Search, x: Sequence[float], y: Sequence[float]) -> pd.DataFrame:
    table = pd.DataFrame({"x": x, "y": y, "short": search.arch, "colour": search.colour})
    return table[table["y"] < math.inf].sort_values("x")


def _frame(axes: Axes, low: float, top: float, unit: str) -> None:
    pad_y(axes, low, top)
    axes.set_ylabel(f"{unit} (lower is better)")


def _draw_rates(searches: Sequence[Search], unit: str, axes: Axes) -> list[Label]:
    tables = [_table(search, search.rates, search.scores) for search in searches]
    if all(table.empty for table in tables):
        raise EmptyPlot("no trial finished")
    medians = [sorted(search.scores)[len(search.scores) // 2] for search in searches]
    finite = [median for median in medians if math.isfinite(median)]
    low = min(table["y"].min() for table in tables if len(table))
    _frame(axes, low, max(finite, default=low), unit)
    rates = [rate for search in searches for rate in search.rates]
    set_log(axes, min(rates) / 1.15, max(rates) * 1.15)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("learning rate")
    draw_lines(axes, pd.concat(tables), marker="o", markersize=3.5)
    return _mark_trials(searches, tables, axes)


def _mark_trials(
    searches: Sequence[Search], tables: Sequence[pd.DataFrame], axes: Axes
) -> list[Label]:
    """Mark the diverged trials and the best of each search; return the labels of the best."""
    labels: list[Label] = []
    for search, table in zip(searches, tables, strict=True):
        tint = colour(search.colour)
        diverged = [x for x, y in zip(search.rates, search.scores, strict=True) if math.isinf(y)]
        axes.plot(diverged, [axes.get_ylim()[1]] * len(diverged), "x", color=tint, clip_on=False)
        best: Any
        for best in table.nsmallest(1, "y").itertuples():
            axes.plot(
                best.x, best.y, "o", markersize=9, markerfacecolor="none", markeredgecolor=tint
            )
            labels.append((float(best.x), float(best.y), search.arch, tint))
    return labels


def _draw_best(searches: Sequence[Search], unit: str, axes: Axes) -> list[Label]:
    longest = max(len(search.scores) for search in searches)
    tables = [_table(one, range(1, len(one.scores) + 1), one.expected) for one in searches]
    table = pd.concat(tables)
    if longest < 2 or table.empty:
        raise EmptyPlot("fewer than two trials finished")
    ends = [search.expected[-1] for search in searches if math.isfinite(search.expected[-1])]
    second = list(table.loc[table["x"] == 2, "y"])
    _frame(axes, min(ends), max(second + ends), unit)
    axes.set_xlabel("trials")
    axes.set_xticks(range(1, longest + 1, 1 + longest // 9))
    return draw_lines(axes, table, marker="o", markersize=3.5)
