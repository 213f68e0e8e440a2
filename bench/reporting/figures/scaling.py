"""Loss against size and data with the fitted laws, and regret on synthetic sources."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from bench.analysis.formatting import format_large
from bench.reporting.figures.style import FONT, name_ends, new_figure, set_log
from bench.reporting.figures.tables import MARKERS
from bench.reporting.palette import Style, assign_styles

AXES = {  # column of scaling.csv: label of x, the column held at its largest value, title
    "parameters": ("parameters", "tokens", "{} tokens"),
    "tokens": ("training tokens", "budget", "a budget of {} parameters"),
    "training_flops": ("training FLOPs", "", "all sizes and amounts"),
}
MATRIX: Any = {  # style of seaborn.heatmap
    "fmt": "", "cmap": "crest", "cbar": False, "linewidths": 0.6,
    "annot_kws": {"fontsize": FONT - 1.5},
}  # fmt: skip
MAX_SOURCES, MAX_ROWS = 16, 40
LEAST = 1e-4  # regrets below it, nats per token, have the palest colour


def scaling_figures(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, Figure]]:
    """Yield the figure of each scaling study: its cells, and the law that was fitted to them."""
    studies = tables["scaling.csv"].groupby(["data", "context", "unit"], sort=False)
    for number, ((data, context, unit), rows) in enumerate(studies):
        foot = f"{data} · a context of {context} tokens · points: means over seeds, lines: the law"
        figure = _study_figure(rows, foot)
        figure.axes[0].set_ylabel(str(unit))
        yield f"scaling{f'-{number + 1}' * (number > 0)}", figure


def _study_figure(rows: pd.DataFrame, foot: str) -> Figure:
    figure, panels = new_figure(len(AXES), foot, sharey=True)
    styles = assign_styles({(name, name.split(" (")[0]) for name in rows["architecture"]})
    for axes, (column, (label, fixed, title)) in zip(panels, AXES.items(), strict=True):
        shown = rows[rows[fixed] == rows[fixed].max()] if fixed else rows
        _draw_cells(axes, shown.sort_values(column), column, styles)
        largest = format_large(shown[fixed].max()) if fixed else ""
        axes.set(xlabel=label, title=title.format(largest))
    last = rows.sort_values("training_flops").groupby("architecture").tail(1)
    ends = last[["architecture", "training_flops", "loss"]].to_numpy()
    name_ends(panels[-1], [(*end, styles[end[0]].light) for end in ends])
    return figure


def _draw_cells(axes: Axes, rows: pd.DataFrame, column: str, styles: Mapping[str, Style]) -> None:
    palette = {name: style.light for name, style in styles.items()}
    markers = {name: MARKERS[style.shape] for name, style in styles.items()}
    set_log(axes, rows[column])
    common = {"x": column, "hue": "architecture", "palette": palette, "ax": axes, "legend": False}
    sns.scatterplot(rows, y="loss", style="architecture", markers=markers, s=22, **common)
    if column != "training_flops" and rows["law"].notna().any():  # no one line through FLOPs
        sns.lineplot(rows, y="law", estimator="min", errorbar=None, linewidth=1, **common)


def regret_figure(tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, Figure]]:
    """Yield the matrix of regrets, architecture by source, where there are two of each."""
    matrix = _regret_matrix(tables["summary.csv"])
    if min(matrix.shape) < 2:
        return
    shown = matrix.iloc[:MAX_ROWS, :MAX_SOURCES]
    rows, columns = shown.shape
    foot = "nats per token above the best possible; the lighter the better"
    if shown.shape != matrix.shape:
        foot += f" · shown: {rows} of {len(matrix)} rows, {columns} of {matrix.shape[1]} sources"
    figure, (axes,) = new_figure(1, foot)
    figure.set_size_inches(0.75 * columns + 2.4, 0.2 * rows + 1.2)
    _draw_matrix(axes, shown)
    axes.set(title="Regret on synthetic sources", xlabel="", ylabel="")
    axes.tick_params(axis="y", rotation=0, length=0)
    yield "regret", figure


def _draw_matrix(axes: Axes, matrix: pd.DataFrame) -> None:
    texts = matrix.map(lambda value: f"{value:.3f}" if value >= LEAST * 10 else f"{value:.1g}")
    shades = LogNorm(LEAST, max(matrix.max().max(), 2 * LEAST))
    sns.heatmap(matrix, annot=texts, norm=shades, mask=matrix.isna(), ax=axes, **MATRIX)


def _regret_matrix(summary: pd.DataFrame) -> pd.DataFrame:
    """Return regrets by architecture and source, the best mean rank first.

    Sources of one name that differ are numbered.
    """
    rows = summary[summary["regret"].notna() & ~summary["control"].astype(bool)]
    digests = rows.groupby("data")["data_digest"]
    numbers = " #" + digests.transform(lambda own: pd.factorize(own)[0] + 1).astype(str)
    names = rows["data"].astype(str) + numbers.where(digests.transform("nunique") > 1, "")
    rows = rows.assign(source=names)
    matrix = rows.pivot_table(index="arch", columns="source", values="regret", aggfunc="min")
    ranks = matrix.rank().fillna(len(matrix)).mean(axis=1)
    return matrix.loc[ranks.sort_values(kind="stable").index]
