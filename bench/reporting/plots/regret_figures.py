"""Small multiples of the known floors: a panel a source, a point an architecture, what it can do against its state."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis import families
from bench.analysis.comparisons import Comparison
from bench.analysis.rows import each
from bench.reporting.plots import drawing
from bench.reporting.plots.figures import EmptyPlot, Plot, make_plot
from bench.reporting.plots.lettering import label_margin
from bench.reporting.sections import regrets
from bench.stats.intervals import pareto_front

LEAST = 1e-3  # nats: less regret is drawn here
HEIGHT = 2.9
Span = tuple[float, float]


def regret_plots(parts: Sequence[Comparison]) -> list[Plot]:
    """A panel for each source, all with one axis of state bytes."""
    tables = regrets.regret_tables(parts)
    states = (
        pd.concat([table["state_bytes"] for _, table in tables])
        if tables
        else pd.Series(dtype=float)
    )
    states = states[states > 0]
    span = (float(states.min()) / 1.5, float(states.max()) * 1.5) if len(states) else (1.0, 10.0)
    return [
        make_plot(f"floor-{number}", title, _caption(table), partial(panel, table, span))
        for number, (title, table) in enumerate(tables)
    ]


def legend(parts: Sequence[Comparison]) -> list[tuple[str, int]]:
    """The families that have a point, with a colour of each."""
    rows = [row for _, table in regrets.regret_tables(parts) for row in each(table)]
    found = {
        str(row.family): min(int(one.colour) for one in rows if one.family == row.family)
        for row in rows
    }
    return [
        (families.family_title(family), found[family])
        for family in sorted(found, key=lambda name: (families.family_rank(name), name))
    ]


def _caption(table: pd.DataFrame) -> str:
    certain = regrets.oracle_is_certain(table)
    said = (
        "Higher is better; 1 is possible."
        if certain
        else f"Lower is better; below {LEAST} is drawn there."
    )
    none = sorted(table.loc[table["state_bytes"].isna(), "label"])
    lost = f" Without a state to count: {', '.join(none)}." if none else ""
    bars = "" if certain else " Bars: two standard errors."
    return f"Named: those that nothing beats in both. {said}{bars}{lost}"


def _span(rows: pd.DataFrame) -> tuple["pd.Series[float]", "pd.Series[float]"]:
    """Two standard errors below and above."""
    low, high = (rows["regret"] + side * rows["regret_standard_error"] for side in (-2, 2))
    return low.clip(lower=LEAST), high.clip(lower=LEAST)


def panel(table: pd.DataFrame, span: Span) -> Figure:
    """Regret, or the share of right answers where the best possible is always right, against bytes of state."""
    certain = regrets.oracle_is_certain(table)
    height = table["accuracy"] if certain else table["regret"].clip(lower=LEAST)
    rows = table.assign(y=height.astype(float), x=table["state_bytes"].astype(float))
    there = rows[rows["x"] > 0]
    if there.empty:
        raise EmptyPlot("no row has a state of known size")
    figure, axes = drawing.canvas(HEIGHT)
    axes.scatter(
        there["x"], there["y"], c=[drawing.colour(number) for number in there["colour"]], s=36, edgecolors=drawing.PAPER,
        linewidths=0.8, zorder=2,
    )  # fmt: skip
    if not certain:
        axes.vlines(
            there["x"],
            *_span(there),
            colors=[drawing.colour(n) for n in there["colour"]],
            linewidth=1,
            alpha=0.55,
        )
    drawing.logarithmic(axes, *span, "B")
    if certain:
        axes.set_ylim(min(0.0, float(rows["y"].min())) - 0.03, 1.05)
    else:
        drawing.logarithmic(axes, LEAST / 1.3, max(0.1, float(rows["y"].max())) * 1.4, upright=True)
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("bytes of state at the full context")
    axes.set_ylabel("share of right answers" if certain else "regret (nats per token)")
    lines = [
        (axes.get_xlim()[1], float(row.y), str(row.short), drawing.INK)
        for row in each(rows[rows["x"] == 0])
    ]
    for _, level, _, _ in lines:
        axes.axhline(level, color=drawing.FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    front = there[
        pareto_front(there["x"].to_numpy(), (-there["y"] if certain else there["y"]).to_numpy())
    ]
    label_margin(
        axes,
        lines + [(row.x, row.y, str(row.short), drawing.colour(row.colour)) for row in each(front)],
    )
    return figure
