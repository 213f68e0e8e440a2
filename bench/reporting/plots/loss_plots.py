"""Plots of held-out loss against tokens and against seconds."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from bench.analysis.baselines import Baselines, baselines_in_range
from bench.analysis.comparisons import Comparison
from bench.analysis.sessions import TRAIN_RATE, MeasuredSession
from bench.records.tables import Records
from bench.reporting.plots.base import (
    MAX_NAMED,
    EmptyPlot,
    Plot,
    draw_levels,
    draw_lines,
    make_plot,
    pad_y,
    set_log,
)
from bench.reporting.plots.labels import Label

STEEP_SHARE = 0.35  # of the training: loss before it is above the frame
Levels = Sequence[tuple[str, float]]  # baselines of a plot: names and heights
ABOUT_TOKENS = "Mean and range over seeds. The steep first phase is above the frame."
ABOUT_SECONDS = (
    "Seconds are tokens divided by the separately measured rate, not the wall time of the training "
    "run."
)


def join_sentences(*sentences: str) -> str:
    """Return the sentences that are not empty as one text."""
    return " ".join(filter(None, sentences))


def only_best(count: int) -> str:
    """Return a sentence where a plot does not show all of `count` rows."""
    return f"The best {MAX_NAMED} of {count} rows." if count > MAX_NAMED else ""


def loss_plots(
    part: Comparison, records: Records, session: MeasuredSession | None, name: str
) -> Iterator[Plot]:
    """Yield held-out loss against tokens, or against seconds by the rates of a session."""
    baselines_of = _baselines_by_tokenizer(part)
    kinds = sorted(set(zip(part.rows["objective"], part.rows["tokenizer"], strict=True)))
    for number, (objective, tokenizer) in enumerate(kinds):
        table, left = _best_curves(curve_table(part, records.curves, objective, tokenizer))
        causal = objective == "causal"
        baselines = baselines_of.get(tokenizer) if causal and len(table) else None
        levels, outside = _levels_of(baselines, table)
        axis, about = ("tokens", ABOUT_TOKENS) if session is None else ("seconds", ABOUT_SECONDS)
        suffix = "" if causal else f" ({objective}: an axis of its own)"
        draw = partial(_draw_loss, table, session, levels)
        title = f"Held-out loss against {axis}{suffix}"
        yield make_plot(
            f"{name}-{axis}-{number}", title, join_sentences(about, left, outside), draw
        )


def _baselines_by_tokenizer(part: Comparison) -> dict[str, Baselines]:
    """Return the baselines of each tokenizer."""
    lines = zip(part.likelihoods, part.baselines, strict=True)
    return {str(rows["tokenizer"].iloc[0]): baselines for rows, baselines in lines}


def _levels_of(baselines: Baselines | None, table: pd.DataFrame) -> tuple[Levels, str]:
    if baselines is None:
        return [], ""
    return baselines_in_range(baselines, "validation_nats", *_loss_range(table))


def curve_table(
    part: Comparison, curves: pd.DataFrame, objective: str, tokenizer: str
) -> pd.DataFrame:
    """Return the logged held-out loss of the finished runs of one objective and tokenizer."""
    runs = part.runs[part.runs["objective"].eq(objective) & part.runs["tokenizer"].eq(tokenizer)]
    runs = runs.loc[~runs["control"], ["run", "row"]]
    named = runs.join(part.rows[["short", "colour", "subject"]], on="row")
    table = curves[["run", "tokens", "validation_nats"]].merge(named, on="run")
    table = table.dropna(subset=["validation_nats"])
    return table.astype({"tokens": float, "validation_nats": float})


def _best_curves(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the curves that end lowest, and a sentence where there are more."""
    ends = table["tokens"] == table.groupby("short")["tokens"].transform("max")
    last = table[ends].groupby("short")["validation_nats"].mean()
    best = table["short"].isin(last.nsmallest(MAX_NAMED).index)
    return table[best].sort_values("short"), only_best(len(last))


def _loss_range(table: pd.DataFrame, levels: Levels = ()) -> tuple[float, float]:
    """Return the lowest and the highest loss of the frame: without the steep first phase."""
    losses = table["validation_nats"]
    late = losses[table["tokens"] >= STEEP_SHARE * table["tokens"].max()]
    heights = [height for _, height in levels]
    return min([losses.min(), *heights]), max([late.max(), *heights])


def _with_x(table: pd.DataFrame, session: MeasuredSession | None) -> pd.DataFrame:
    """Return the table with x: tokens, or seconds by the rates of a session."""
    if table.empty:
        raise EmptyPlot("no held-out loss was logged")
    if session is None:
        return table.assign(x=table["tokens"])
    rates = table["subject"].map(lambda one: session.value(one, TRAIN_RATE)).astype(float)
    table = table.assign(x=table["tokens"] / rates).dropna(subset=["x"])
    if table.empty:
        raise EmptyPlot("no training rate was measured for these rows")
    return table


def _draw_loss(
    table: pd.DataFrame, session: MeasuredSession | None, levels: Levels, axes: Axes
) -> list[Label]:
    table = _with_x(table, session)
    groups = table.groupby(["short", "colour", "x"])["validation_nats"]
    means = groups.agg(y="mean", low="min", high="max").reset_index()
    labels = draw_lines(axes, means)
    low, top = _loss_range(table, levels)
    pad_y(axes, low, top)
    axes.set_ylabel("held-out loss (nats per token)")
    if session is None:
        axes.set_xlabel("training tokens")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.set_xlabel("seconds of training = tokens / measured rate")
        shown = table.loc[table["validation_nats"] <= axes.get_ylim()[1], "x"]
        set_log(axes, shown.min() / 1.1, shown.max() * 1.05, "s")
    return labels + draw_levels(axes, levels)
