"""Small multiples for synthetic sources with a known optimum: quality against bytes of state."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.comparisons import Comparison
from bench.analysis.families import family_rank, family_title
from bench.analysis.regrets import oracle_is_certain, regret_tables
from bench.reporting.plots.base import (
    EmptyPlot,
    Plot,
    draw_levels,
    draw_points,
    make_plot,
    set_log,
)
from bench.reporting.plots.labels import Label
from bench.stats.pareto import pareto_front

MIN_REGRET = 1e-3  # nats: smaller regret is drawn here
HEIGHT = 2.9


def regret_plots(parts: Sequence[Comparison]) -> list[Plot]:
    """Return a plot for each source, all with one axis of state bytes."""
    tables = regret_tables(parts)
    states = [
        table.loc[table["state_bytes"] > 0, "state_bytes"].astype(float) for _, table in tables
    ]
    states = [one for one in states if len(one)]
    span = (min(map(min, states)) / 1.5, max(map(max, states)) * 1.5) if states else (1.0, 10.0)
    return [
        make_plot(f"floor-{number}", title, _caption(table), partial(_draw, table, span))
        for number, (title, table) in enumerate(tables)
    ]


def regret_legend(parts: Sequence[Comparison]) -> list[tuple[str, int]]:
    """Return the families that have a point, with a colour of each."""
    rows = [table[["family", "colour"]] for _, table in regret_tables(parts)]
    colours: Any = pd.concat(rows).groupby("family")["colour"].min() if rows else {}
    families = sorted(map(str, colours.keys()), key=lambda name: (family_rank(name), name))
    return [(family_title(family), int(colours[family])) for family in families]


def _caption(table: pd.DataFrame) -> str:
    certain = oracle_is_certain(table)
    scale = (
        "Higher is better; 1 is possible."
        if certain
        else f"Lower is better; below {MIN_REGRET} is drawn there. Bars: two standard errors."
    )
    unmeasured = sorted(table.loc[table["state_bytes"].isna(), "label"])
    missing = f" Without a measurable state: {', '.join(unmeasured)}." if unmeasured else ""
    return f"Named: those that no other beats in both. {scale}{missing}"


def _with_axes(table: pd.DataFrame, certain: bool) -> pd.DataFrame:
    """Return the rows with x, y, low and high; y is accuracy where the optimum is always right."""
    y = table["accuracy"] if certain else table["regret"].clip(lower=MIN_REGRET)
    error = 0.0 if certain else 2 * table["regret_standard_error"]
    low, high = (
        (y if certain else table["regret"] + side * error).clip(lower=MIN_REGRET)
        for side in (-1, 1)
    )
    x = table["state_bytes"].astype(float)
    return table.assign(x=x, y=y.astype(float), low=low, high=high)


def _draw(table: pd.DataFrame, span: tuple[float, float], axes: Axes) -> list[Label]:
    """Draw regret, or accuracy, against bytes of state."""
    certain = oracle_is_certain(table)
    rows = _with_axes(table, certain)
    stateful = rows[rows["x"] > 0]
    if stateful.empty:
        raise EmptyPlot("no row has a state of known size")
    axes.figure.set_figheight(HEIGHT)  # type: ignore[union-attr]
    labels = draw_points(axes, stateful, size=36)
    _set_axes(axes, rows["y"], span, certain)
    stateless = rows[rows["x"] == 0]
    levels = draw_levels(axes, zip(stateless["short"].astype(str), stateless["y"], strict=True))
    best = pareto_front(
        stateful["x"].to_numpy(), (-stateful["y"] if certain else stateful["y"]).to_numpy()
    )
    return levels + [label for label, named in zip(labels, best, strict=True) if named]


def _set_axes(axes: Axes, y: pd.Series, span: tuple[float, float], certain: bool) -> None:
    """Set the span of the state, and y for accuracy where the optimum is always right."""
    set_log(axes, *span, "B")
    if certain:
        axes.set_ylim(min(0.0, float(y.min())) - 0.03, 1.05)
    else:
        set_log(axes, MIN_REGRET / 1.3, max(0.1, float(y.max())) * 1.4, axis="y")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("bytes of state at the full context")
    axes.set_ylabel("accuracy" if certain else "regret (nats per token)")
