"""The datasets of the folded charts, for the rows of each view."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis import formatting as fmt
from bench.analysis.comparisons import Comparison, regret_tables
from bench.analysis.scaling import ScalingStudy
from bench.analysis.scaling_csv import scaling_table
from bench.analysis.searches import SearchGroup
from bench.analysis.sessions import DECODE_RATE, DECODE_TIME, FIRST_TOKEN, TRAIN_RATE
from bench.records.tables import Records
from bench.reporting.charts.folded import PARTS, panels
from bench.reporting.figures.spread import spread_labels
from bench.reporting.palette import with_styles
from bench.reporting.section import Chart
from bench.reporting.views import View

Line = dict[str, Any]  # a point of a panel by column, with the group that shares its axes
COLUMNS = "group key label panel x y low high point at text".split()
MAX_NAMED = 12  # lines of a panel
NAME_STEP = 0.07  # height of a name as a share of a panel's
LENGTHS = (
    (TRAIN_RATE, "length", "Training, tokens/s, by tokens of context", fmt.format_large),
    (FIRST_TOKEN, "length", "Time to the first token, by tokens of prompt", fmt.format_seconds),
    (DECODE_TIME, "length", "Time of a further token, by tokens read", fmt.format_seconds),
    (DECODE_RATE, "batch", "Decoding, tokens/s, by texts at once", fmt.format_large),
)
CONTEXTS = (
    ("context_nats", "context", "Loss, nats per token, by tokens that may be read"),
    ("position_nats", "position", "Loss, nats per token, by position"),
)
SCALING = (  # column of the cells, its unit, the column held at its largest value, title
    ("parameters", "parameters", "tokens", "by parameters, at the most data"),
    ("tokens", "tokens", "budget", "by training tokens, at the largest size"),
    ("training_flops", "FLOPs", "", "by training FLOPs"),
)


def length_data(views: Sequence[View]) -> pd.DataFrame:
    """Return the medians of speeds by length and batch, in the first session of each view."""
    return _panel_table(_length_lines(views), log_y=True)


def _length_lines(views: Sequence[View]) -> Iterator[Line]:
    for view, session in ((own, one) for own in views for one in own.sessions[:1]):
        for metric, axis, panel, show in LENGTHS:
            places = [(x, (metric, axis, x)) for x in session.places(metric, axis)]
            if axis == "batch":  # one text at once is a batch of 1
                places.insert(0, (1.0, session.eager_point(metric)))
            for row in _contenders(view):
                for x, point in places:
                    median = session.points.get((str(row.subject), point))
                    ends = {"low": median.low, "high": median.high} if median else {}
                    y = session.at(str(row.subject), point)
                    if y > 0:
                        yield _point(view, row, panel, x, show(y)) | {"y": y} | ends


def context_data(views: Sequence[View], records: Records) -> pd.DataFrame:
    """Return the loss by allowed context and by position: means and extremes over seeds."""
    values = records.values[records.values["value"].notna()]
    tables = [(*one, values[values["metric"] == one[0]]) for one in CONTEXTS]
    lines = (
        line
        for view in views
        if view.quality == "bits_per_byte"
        for _, axis, panel, table in tables
        for line in _context_lines(view, axis, panel, table)
    )
    return _panel_table(lines)


def _context_lines(view: View, axis: str, panel: str, values: pd.DataFrame) -> Iterator[Line]:
    assert view.comparison is not None
    runs = view.comparison.runs.set_index("run")["row"]
    own = values[values["run"].isin(runs.index)]
    places = [at.get(axis, math.nan) if isinstance(at, dict) else math.nan for at in own["at"]]
    groups = own["value"].astype(float).groupby([own["run"].map(runs), np.array(places)])
    seeds = groups.agg(["mean", "min", "max"])
    for row in _contenders(view):
        if row.Index in seeds.index.get_level_values(0):
            for x, mean, low, high in seeds.loc[row.Index].itertuples():
                ends = {"y": mean, "low": low, "high": high}
                yield _point(view, row, panel, x, fmt.format_fixed(mean)) | ends


def regret_data(views: Sequence[View], parts: Sequence[Comparison]) -> pd.DataFrame:
    """Return regret against bytes of state, a panel for each source: points without lines."""
    titles = {row: title for title, table in regret_tables(parts) for row in table.index}
    lines = (
        _point(view, row, titles[row.Index], row.state_bytes, fmt.format_fixed(row.regret))
        | {"y": row.regret, "base": row.base}
        for view, row in _regret_rows(views)
        if row.state_bytes > 0 and row.regret > 0
    )
    table = _panel_table(lines, log_y=True)
    return table.assign(y=math.nan).drop(columns="key")


def undrawn_regrets(views: Sequence[View]) -> str:
    """Return which rows have no point on axes of logarithms."""
    rows = [row for _, row in _regret_rows(views) if not (row.state_bytes > 0 and row.regret > 0)]
    names = sorted({str(row.label) for row in rows})
    return f"Not drawn, without a state above 0 bytes: {fmt.join_words(names)}." if names else ""


def _regret_rows(views: Sequence[View]) -> Iterator[tuple[View, Any]]:
    for view in views:
        yield from ((view, row) for row in _contenders(view) if view.quality == "regret")


def memory_data(views: Sequence[View]) -> pd.DataFrame:
    """Return the bytes of a training step by what they hold, in the first session of each view."""
    lines = [
        {
            "key": row.key,
            "part": part,
            "order": order,
            "bytes": value,
            "text": fmt.format_bytes(value),
        }
        for view in views
        for session in view.sessions[:1]
        for row in _contenders(view)
        for order, part in enumerate(PARTS)
        if (value := session.value(str(row.subject), f"memory_{part}_bytes")) > 0
    ]
    table = pd.DataFrame(lines, columns=["key", "part", "order", "bytes", "text"])
    return table.assign(total=table.groupby("key")["bytes"].transform("sum"))


def _contenders(view: View) -> Iterable[Any]:
    return view.rows[~view.rows["control"].astype(bool)].itertuples()


def _point(view: View, row: Any, panel: str, x: float, text: str) -> Line:
    place = {"panel": panel, "x": float(x), "at": f"{x:,g}"}
    return {"group": view.name, "key": row.key, "text": text, **place}


def scaling_data(study: ScalingStudy) -> pd.DataFrame:
    """Return losses by parameters, tokens and FLOPs; the lines are the fitted laws."""
    cells = scaling_table([study])
    lines = (
        {
            "group": study.name, "panel": title, "label": cell["architecture"],
            "x": cell[column], "at": f"{fmt.format_large(cell[column])} {unit}",
            "point": cell["loss"], "y": cell["law"] if fixed else math.nan,
            "text": fmt.format_fixed(cell["loss"]),
        }
        for column, unit, fixed, title in SCALING
        for cell in _largest(cells, fixed).sort_values(column).to_dict("records")
    )  # fmt: skip
    return own_table(lines)


def _largest(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    if not column:
        return cells
    return cells[cells[column] == cells.groupby("architecture")[column].transform("max")]


def search_data(groups: Sequence[SearchGroup], titles: Sequence[str]) -> pd.DataFrame:
    """Return the scores of the trials against their learning rate, a panel for each group."""
    lines = (
        {
            "group": title, "panel": title, "label": search.arch, "x": rate,
            "at": f"learning rate {fmt.format_number(rate)}",
            "y": score, "text": fmt.format_fixed(score),
        }
        for group, title in zip(groups, titles, strict=True)
        for search in group.searches
        for rate, score in sorted(zip(search.rates, search.scores, strict=True))
        if math.isfinite(score)
    )  # fmt: skip
    return own_table(lines)


def own_table(lines: Iterable[Line]) -> pd.DataFrame:
    """Return points whose labels have a style without being rows of a view.

    `base` is the name that they are filtered by: by default the label without its settings.
    """
    table = _panel_table(lines).drop(columns="key")
    names = table["label"].astype(str).str.split(" (", regex=False).str[0]
    table = table.assign(base=table.get("base", names))
    styles = with_styles(table.assign(label=table["base"].astype(str)))
    return styles.assign(label=table["label"])


def panels_of(
    name: str, title: str, caption: str, table: pd.DataFrame, log: str = "xy", base: int = 10
) -> tuple[Chart, pd.DataFrame]:
    """Return small multiples with their dataset."""
    order = tuple(dict.fromkeys(table["panel"]))
    return Chart(name, title, panels(name, order, log, base), caption), table


def _panel_table(lines: Iterable[Line], log_y: bool = False) -> pd.DataFrame:
    """Return points by column, with the names of the first lines of each panel at their ends."""
    table = pd.DataFrame(list(lines))
    table = table.reindex(columns=[*COLUMNS, *table.columns.difference(COLUMNS)])
    table = table.assign(point=table["point"].fillna(table["y"]), name="", name_y=math.nan)
    for _, rows in table.groupby(["group", "panel"], sort=False):
        ends = _name_ends(rows, log_y)
        table.loc[ends.index, "name_y"] = ends
        table.loc[ends.index, "name"] = table.loc[ends.index, "key"].fillna(table["label"])
    return table.drop(columns="group")


def _name_ends(rows: pd.DataFrame, log_y: bool) -> "pd.Series[float]":
    """Return where the names of a panel's lines stand, moved apart where they would touch."""
    lines = rows["key"].fillna(rows["label"])
    first = list(dict.fromkeys(lines))[:MAX_NAMED]
    ends = rows[lines.isin(first)].sort_values("x").groupby(lines).tail(1).sort_values("point")
    heights = np.log(rows["point"]) if log_y else rows["point"]
    low, span = heights.min(), heights.max() - heights.min() or 1.0
    places = spread_labels(list((heights[ends.index] - low) / span), NAME_STEP, 0.0, 1.0)
    values = low + span * np.array(places)
    return pd.Series(np.exp(values) if log_y else values, ends.index)
