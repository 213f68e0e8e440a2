"""Plots of quality: scores, loss against tokens and seconds, quality against each cost."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.analysis.baselines import Baselines, baselines_in_range
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import join_words
from bench.analysis.sessions import MeasuredSession
from bench.records.tables import Records
from bench.reporting.plots.base import (
    DOTTED,
    FAINT,
    INK,
    MAX_NAMED,
    EmptyPlot,
    Plot,
    colour,
    draw_levels,
    draw_points,
    make_plot,
    set_log,
)
from bench.reporting.plots.labels import FONT, Label
from bench.reporting.plots.loss_plots import Levels, join_sentences, loss_plots, only_best
from bench.stats.intervals import pareto_front

COSTS = {  # metric: title, axis, whether more is better, unit
    "train_tokens_per_second": ("training speed", "training tokens/s (higher is better)", True, ""),
    "decode_tokens_per_second": ("decoding speed", "decoded tokens/s (higher is better)", True, ""),
    "peak_train_memory_bytes": ("memory", "peak of a training step (lower is better)", False, "B"),
    "state_bytes": ("state", "bytes of state at the full context (lower is better)", False, "B"),
}  # fmt: skip
Headed = tuple[str, list[Plot]]  # a heading, and the plots under it


def quality_plots(
    part: Comparison, records: Records, sessions: Sequence[MeasuredSession]
) -> tuple[Plot | None, list[Headed]]:
    """Return the main plot, and all others under headings: speeds once per session."""
    general = list(loss_plots(part, records, None, part.name))
    groups = []
    for n, session in enumerate(sessions):
        name = f"{part.name}-session-{n}"
        plots = [*loss_plots(part, records, session, name), *_cost_plots(part, session, name)]
        groups.append((f"On machine {session.machine}, session {session.name}", plots))
    if len(groups) == 1:
        main, others = _split_main(general + groups[0][1])
        return main or _score_plot(part), [("", others)]
    if not groups:
        reason = "no speed or memory was measured for these rows."
        titles = ("Quality against speed", "Quality against memory")
        general += [Plot("", title, "", reason=reason) for title in titles]
    return _score_plot(part), [("", general), *groups]


def _split_main(plots: list[Plot]) -> tuple[Plot | None, list[Plot]]:
    """Return the plot against training speed, where it is drawn, and the others."""
    title = _cost_title("train_tokens_per_second")
    main = next((plot for plot in plots if plot.title == title and plot.svg), None)
    return main, [plot for plot in plots if plot is not main]


# --- scores ------------------------------------------------------------------


def _score_plot(part: Comparison) -> Plot | None:
    """Return the scores of the largest table, where there is one."""
    if not part.likelihoods:
        return None
    table = part.likelihoods[0][~part.likelihoods[0]["control"]]
    rows = table.head(MAX_NAMED)
    levels, outside = _levels_of(part.baselines[0], rows)
    caption = join_sentences(
        "Points: means over seeds. Bars: 95 % intervals.", only_best(len(table)), outside
    )
    return make_plot(f"{part.name}-scores", "Quality", caption, partial(_draw_scores, rows, levels))


def _levels_of(baselines: Baselines, rows: pd.DataFrame) -> tuple[Levels, str]:
    score = rows["bits_per_byte"]
    return baselines_in_range(baselines, "bits_per_byte", score.min(), score.max())


def _draw_scores(rows: pd.DataFrame, levels: Levels, axes: Axes) -> list[Label]:
    table = rows.sort_values("bits_per_byte", ascending=False)
    figure, places = axes.figure, np.arange(len(table))
    figure.set_figheight(0.26 * len(table) + 0.9)  # type: ignore[union-attr]
    tints = [colour(number) for number in table["colour"]]
    low, high = table["bits_per_byte_low"], table["bits_per_byte_high"]
    axes.hlines(places, low, high, colors=tints, linewidth=1.2, alpha=0.6)
    axes.scatter(table["bits_per_byte"], places, c=tints, s=36, zorder=2)
    axes.set_yticks(places, list(table["short"]))
    axes.set_ylim(-0.7, len(table) - 0.3)
    axes.grid(axis="y", visible=False)
    _draw_upright_levels(axes, levels)
    axes.set_xlabel("bits per byte (lower is better)")
    return []


def _draw_upright_levels(axes: Axes, levels: Levels) -> None:
    """Draw vertical reference lines with their names above the frame."""
    for name, value in levels:
        axes.axvline(value, **DOTTED)
        at = (value, 1.01)
        transform = axes.get_xaxis_transform()
        axes.text(*at, name, transform=transform, rotation=20, color=INK, fontsize=FONT - 1.5)


# --- quality against cost ----------------------------------------------------


def _cost_title(metric: str) -> str:
    return f"Quality against {COSTS[metric][0]}"


def _cost_plots(part: Comparison, session: MeasuredSession, name: str) -> Iterator[Plot]:
    for number, table in enumerate(part.likelihoods):
        rows = table[~table["control"]]
        for metric in COSTS:
            cost = rows["subject"].map(lambda one, m=metric: session.value(one, m)).astype(float)
            shown = _shown_rows(rows.assign(x=cost, y=rows["bits_per_byte"]), metric)
            levels, outside = _levels_of(part.baselines[number], shown) if len(shown) else ([], "")
            zero = list(rows.loc[cost.eq(0), "short"])
            caption = join_sentences(
                "Dashed: the rows that no other beats in both. Bars: 95 % intervals.",
                f"{len(shown)} of {len(rows)} rows: the best, and those on the dashed line."
                if len(rows) > MAX_NAMED
                else "",
                f"Without any, and so off the scale: {join_words(zero)}." if zero else "",
                outside,
            )
            draw = partial(_draw_cost, shown, metric, levels)
            yield make_plot(f"{name}-{metric}-{number}", _cost_title(metric), caption, draw)


def _front(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows that no other beats in both cost and quality."""
    cost = -rows["x"] if COSTS[metric][2] else rows["x"]
    return rows[pareto_front(cost.to_numpy(dtype=float), rows["y"].to_numpy(dtype=float))]


def _draw_front(rows: pd.DataFrame, metric: str, axes: Axes) -> None:
    """Draw dashed steps through the rows that no other beats in both."""
    front = _front(rows, metric).sort_values("x")
    steps = "steps-pre" if COSTS[metric][2] else "steps-post"
    axes.plot(
        front["x"],
        front["y"],
        color=FAINT,
        linewidth=1,
        linestyle=(0, (4, 2)),
        zorder=1,
        drawstyle=steps,
    )


def _shown_rows(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the best rows, and those that no other beats in both."""
    measured = rows[rows["x"].notna()]
    kept = _front(measured, metric).index.union(measured.head(MAX_NAMED).index)
    return rows[rows.index.isin(kept)]


def _draw_cost(rows: pd.DataFrame, metric: str, levels: Levels, axes: Axes) -> list[Label]:
    _, label, _, unit = COSTS[metric]
    table = rows[rows["x"] > 0].rename(
        columns={"bits_per_byte_low": "low", "bits_per_byte_high": "high"}
    )
    if len(table) < 2:
        raise EmptyPlot("fewer than two rows have both numbers from one session")
    if table["x"].max() <= table["x"].min() * 1.01:
        raise EmptyPlot("it is the same for all rows")
    _draw_front(table, metric, axes)
    labels = draw_points(axes, table)
    room = (table["x"].max() / table["x"].min()) ** 0.12
    set_log(axes, table["x"].min() / room, table["x"].max() * room, unit)
    axes.margins(y=0.12)
    axes.set_xlabel(label)
    axes.set_ylabel("bits per byte (lower is better)")
    return labels + draw_levels(axes, levels)
