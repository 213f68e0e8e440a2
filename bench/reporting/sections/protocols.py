"""What further protocols give each causal model, beside its headline and never ranked with it; what context is worth to it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.aggregate import VariantTables
from bench.analysis.comparisons import Comparison
from bench.analysis.formatting import NO_VALUE, format_fixed, join_words, plural
from bench.analysis.rows import each
from bench.records.tables import Records
from bench.reporting.html_table import Cell, Table, name_cell
from bench.reporting.plots import drawing
from bench.reporting.plots.figures import EmptyPlot, Plot, make_plot
from bench.reporting.plots.lettering import label_margin

WAYS = ("stride", "stateful")
NAMED = 24  # lines that a figure can name; of more it shows the best rows
CURVES = (
    (
        "position_nats", "position", "Loss against position in the context", "tokens read before the one that is asked, at most",
        "From the headline’s own windows: who goes on to fall uses what stands further back.",
    ),
    (
        "context_nats", "context", "Loss against allowed context", "tokens of context that are allowed",
        "The same sampled tokens each time, in windows of that length side by side. Right of the upright line lies more than any "
        "model was trained on: who goes on to fall can use it.",
    ),
)  # fmt: skip


def tabulate(part: Comparison, records: Records, tables: VariantTables) -> list[Table]:
    """A table for each table of the headline: the same rows in the same order."""
    made = [
        _table(f"{part.name}-protocols-{number}", rows, records, tables)
        for number, rows in enumerate(part.likelihoods)
    ]
    return [table for table in made if table.rows]


def _table(name: str, rows: pd.DataFrame, records: Records, tables: VariantTables) -> Table:
    runs = tables.runs[(tables.runs["status"] == "done") & tables.runs["row"].isin(rows.index)][
        ["run", "row"]
    ]
    values = records.values.merge(runs, on="run")
    again = records.evaluations.merge(runs, on="run")
    again = again[(again["metric"] == "bits_per_byte") | (again["status"] == "skipped")]
    headline = str(rows["protocol"].iloc[0])
    others = [one for one in sorted(set(again["protocol"])) if one != headline]
    sampled = rows["chunk_bits_per_byte"].notna().any()
    made = amounts(rows, tables, "stretches")
    usual = most(made[rows["chunk_bits_per_byte"].notna()])
    if not sampled and not others:
        return Table(name, "", [], [])
    reasons: dict[str, dict[str, list[str]]] = {}  # why, title, labels
    cells = []
    for row in each(rows):
        line = [name_cell(row), Cell(format_fixed(row.bits_per_byte), row.bits_per_byte)]
        own = values[values["row"] == row.Index]
        if sampled and made[row.Index] != usual:
            own = unlike(
                own, f"sampled on {made[row.Index]} stretches where the others were on {usual}"
            )
        line += _sampled(row, own, reasons) if sampled else []
        line += [
            _whole(
                again[(again["row"] == row.Index) & (again["protocol"] == one)], one, row, reasons
            )
            for one in others
        ]
        cells.append(line)
    notes = [note for note in _notes(values) if sampled]
    notes += [
        f"{NO_VALUE} {title} · {join_words(who)}: {why}"
        for why, titles in reasons.items()
        for title, who in titles.items()
    ]
    columns = [
        ("architecture", "in the headline’s order"),
        (f"{headline}, all text", "the headline, bits per byte"),
    ]
    columns += _columns() if sampled else []
    columns += [
        (f"{one}, all text", "scored again: bits per byte, mean over the seeds that were")
        for one in others
    ]
    caption = (
        "Bits per byte by other ways of allowing context. Columns are never ranked against each other: more context makes every "
        "score better. Within a column every row is scored on the same tokens."
    )
    return Table(name, caption, columns, cells, notes, "Further protocols")


def amounts(rows: pd.DataFrame, tables: VariantTables, option: str) -> "pd.Series[Any]":
    """What `evaluate.<option>` was in the finished runs of each row, in words: rows that were asked unlike share no column."""
    runs = tables.runs[(tables.runs["status"] == "done") & tables.runs["row"].isin(rows.index)]
    found = runs["config"].map(lambda config: config.get("evaluate", {}).get(option))
    said = found.groupby(runs["row"]).agg(
        lambda column: " and ".join(map(str, dict.fromkeys(column)))
    )
    return said.reindex(rows.index).fillna("")


def most(said: "pd.Series[Any]") -> str:
    """What most rows were asked."""
    return str(said.mode().iloc[0]) if len(said) else ""


def unlike(values: pd.DataFrame, why: str) -> pd.DataFrame:
    """The values of a row without their numbers, which stand on another sample."""
    return values.assign(value=np.nan, note=why)


def _columns() -> list[tuple[str, str]]:
    return [
        (
            "chunk, sample",
            "the headline’s protocol on the sample alone: what the columns right of it are held against",
        ),
        (
            "stride, sample",
            "overlapping windows; below it the gain over chunk and its standard error over the stretches",
        ),
        (
            "stateful, sample",
            "the state carried on; below it the gain over chunk and its standard error over the stretches",
        ),
        ("best legal, sample", "the lowest of the three that this architecture can be scored by"),
    ]


def _sampled(
    row: Any, values: pd.DataFrame, reasons: dict[str, dict[str, list[str]]]
) -> list[Cell]:
    """What chunk, stride and stateful give a row on the sample, and the best of them."""
    means = values.groupby("metric")["value"].mean()
    scores = {way: float(means.get(f"{way}_bits_per_byte", math.nan)) for way in ("chunk", *WAYS)}
    cells = [
        Cell(
            format_fixed(scores["chunk"]),
            scores["chunk"] if scores["chunk"] == scores["chunk"] else None,
        )
    ]
    for way in WAYS:
        if scores[way] == scores[way]:
            gain, error = (
                float(means.get(f"{way}_gain{end}", math.nan)) for end in ("", "_standard_error")
            )
            cells.append(
                Cell(
                    format_fixed(scores[way]),
                    scores[way],
                    f"gains {format_fixed(gain)} ± {format_fixed(error)}",
                )
            )
            continue
        notes = values.loc[values["metric"] == f"{way}_bits_per_byte", "note"]
        why = str(notes.iloc[0]) if len(notes) else "not scored"
        reasons.setdefault(why, {}).setdefault(f"{way}, sample", []).append(str(row.label))
        cells.append(Cell(NO_VALUE, None, why=why))
    known = {way: score for way, score in scores.items() if score == score}
    best = min(known, key=lambda way: known[way]) if known else ""
    return [*cells, Cell(format_fixed(known[best]), known[best], best) if best else Cell(NO_VALUE)]


def _whole(
    found: pd.DataFrame, protocol: str, row: Any, reasons: dict[str, dict[str, list[str]]]
) -> Cell:
    """What a protocol gave on the whole part, where finished runs were scored again by it."""
    values = found["value"].dropna()
    if len(values):
        return Cell(format_fixed(values.mean()), float(values.mean()), plural(len(values), "seed"))
    why = (
        str(found["reason"].iloc[0])
        if len(found)
        else "not scored by it yet: python -m bench.evaluate does"
    )
    reasons.setdefault(why, {}).setdefault(f"{protocol}, all text", []).append(str(row.label))
    return Cell(NO_VALUE, None, why=why)


def _notes(values: pd.DataFrame) -> list[str]:
    """How each of the sample's columns was made, as the records say."""
    made = values[
        values["metric"].isin([f"{way}_bits_per_byte" for way in ("chunk", *WAYS)])
        & values["value"].notna()
    ]
    return sorted(
        {
            f"{metric.removesuffix('_bits_per_byte')}: {note}."
            for metric, note in zip(made["metric"], made["note"], strict=True)
        }
    )


# --- figures ----------------------------------------------------------------------------------------------------------


def drawings(part: Comparison, records: Records, tables: VariantTables) -> list[Plot]:
    """One line an architecture: loss against position, and against allowed context."""
    made = []
    for number, rows in enumerate(part.likelihoods):
        shown = rows[~rows["control"]].head(NAMED)
        for metric, axis, title, label, caption in CURVES:
            table = points(shown, records, tables, metric, axis)
            left = (
                f" The best {NAMED} of {len(rows[~rows['control']])} rows."
                if len(shown) < int((~rows["control"]).sum())
                else ""
            )
            gaps = _gaps(shown, records, tables, metric)
            make: Callable[[], Figure] = partial(curve, table, int(rows["context"].iloc[0]), label)
            made.append(
                make_plot(f"{part.name}-{metric}-{number}", title, f"{caption}{left}{gaps}", make)
            )
    return made


def points(
    rows: pd.DataFrame, records: Records, tables: VariantTables, metric: str, axis: str
) -> pd.DataFrame:
    """Mean over seeds of a metric at each place of its axis: short, colour, x, y."""
    runs = tables.runs[(tables.runs["status"] == "done") & tables.runs["row"].isin(rows.index)][
        ["run", "row"]
    ]
    table = records.values[
        (records.values["metric"] == metric) & records.values["value"].notna()
    ].merge(runs, on="run")
    table = table.assign(x=[float(at.get(axis, math.nan)) for at in table["at"]]).dropna(
        subset=["x"]
    )
    means = table.groupby(["row", "x"])["value"].mean().rename("y").reset_index()
    return means.join(rows[["short", "colour"]], on="row")


def _gaps(rows: pd.DataFrame, records: Records, tables: VariantTables, metric: str) -> str:
    """Whose lines end before the others', and why."""
    runs = tables.runs[tables.runs["row"].isin(rows.index)][["run", "row"]]
    missing = records.values[
        (records.values["metric"] == metric) & records.values["value"].isna()
    ].merge(runs, on="run")
    firsts = missing.drop_duplicates("row").join(rows["short"], on="row")
    said = [f"{row.short} ends early: {row.note}" for row in each(firsts)]
    return "".join(f" {one}." for one in said)


def curve(table: pd.DataFrame, context: int, label: str) -> Figure:
    """Loss against a number of tokens, each step of the axis a doubling; an upright line at the context that was trained on."""
    if table["x"].nunique() < 2:
        raise EmptyPlot("the records hold no such numbers")
    count = table["short"].nunique()
    figure, axes = drawing.canvas(max(drawing.HEIGHT, 0.17 * count + 0.7))
    ends = []
    for short, line in table.sort_values("x").groupby("short"):
        tint, dashes = (
            drawing.colour(int(line["colour"].iloc[0])),
            drawing.dash(int(line["colour"].iloc[0])),
        )
        axes.plot(
            line["x"],
            line["y"],
            color=tint,
            linestyle=(0, dashes) if dashes else "-",
            marker="o",
            markersize=2.5,
        )
        ends.append((float(line["x"].iloc[-1]), float(line["y"].iloc[-1]), str(short), tint))
    if table["x"].max() > context:
        axes.axvline(context, color=drawing.FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    low, high = heights(table)
    axes.set_ylim(low - 0.06 * (high - low) - 1e-9, high + 0.06 * (high - low) + 1e-9)
    axes.set_xlabel(label)
    axes.set_ylabel("held-out loss (nats per token)")
    places = sorted(
        {2.0 ** round(math.log2(x)) for x in table["x"]}
        if table["x"].min() < 2
        else set(table["x"])
    )
    drawing.doubling(axes, places)
    label_margin(axes, [(x, min(max(y, low), high), name, tint) for x, y, name, tint in ends])
    return figure


def heights(table: pd.DataFrame) -> tuple[float, float]:
    """The lowest and the highest loss that is shown: a line that rises steeply beyond its context must not flatten the others."""
    low, high = float(table["y"].min()), float(table["y"].max())
    tops = table.groupby("short")["y"].first().to_numpy(dtype=float)
    usual = float(np.max(tops))
    return low, min(high, usual + 0.5 * max(usual - low, 1e-3))
