"""The section of fine-tuning: three answers and a table per task, and predictions side by side."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.fine_tuning import TaskTable
from bench.analysis.formatting import NO_VALUE, format_fixed, format_number
from bench.analysis.task_answers import (
    MIN_BASES,
    arm_title,
    arm_words,
    format_gain,
    format_score,
    task_answers,
)
from bench.records.metrics import describe
from bench.reporting import html_table as ht
from bench.reporting.palette import DASHES
from bench.reporting.panel_data import own_table, panels_of
from bench.reporting.section import Section, render
from bench.reporting.views import View

SHOWN_EXAMPLES = 10
SHOWN_CHARACTERS = 160
LINES = ("Solid", "Dashed", "Dotted", "Dash-dotted")  # as DASHES


def fine_tuning_section(analysis: Analysis, views: Sequence[View]) -> Section | None:
    """Return what runs were fine-tuned for; None where nothing was."""
    if not (tasks := analysis.tasks):
        return None
    sizes, bases = efficiency_data(tasks), base_data(tasks)
    drawn = [
        panels_of("label-efficiency", "Score by training examples", _key_of(sizes), sizes, "x"),
        panels_of("base-quality", "Score by the loss of the base", "A point per seed.", bases, ""),
    ]
    drawn = [(chart, data) for chart, data in drawn if len(data)]
    charts = tuple(chart for chart, _ in drawn)
    html = render(
        "fine_tuning.html",
        charts=charts,
        tables=[(task_table(f"task-{n}", one), task_answers(one)) for n, one in enumerate(tasks)],
        predictions=[*map(partial(prediction_table, analysis), distinct_tasks(analysis))],
    )
    return Section("fine-tuning", "Fine-tuning", html, charts, {c.name: t for c, t in drawn})


def _key_of(data: pd.DataFrame) -> str:
    """Return which line is of which arm."""
    arms = map(arm_title, dict.fromkeys(data.get("arm", ())))
    return ", ".join(f"{style}: {arm}" for style, arm in zip(LINES, arms, strict=False))


def task_table(name: str, table: TaskTable) -> ht.Table:
    """Return the table of a task: its arms, the gain, and what each row does not beat."""
    metric, title = table.metric, describe(table.metric).title
    arms = [
        ht.Column(arm_title(arm), f"{title} after {arm_words(arm)}", partial(_score, metric, arm))
        for arm in table.arms
    ]
    columns = [
        ht.name_column(lambda row: ht.text_cell(row["label"])),
        *arms,
        *_gain_columns(table),
        ht.Column("no better than", "baselines that the row’s interval does not leave behind",
               _not_beaten),
        ht.Column("base, bits per byte", "held-out loss of what was fine-tuned",
               lambda row: ht.value_cell(row["base_bits_per_byte"], format_number)),
        ht.Column("FLOPs", "of fine-tuning; below it those of pre-training", _flops),
    ]  # fmt: skip
    caption = "± is half of the 95 % interval over seeds and test examples."
    heading, notes = f"{table.title}: {title}", _baseline_notes(table)
    about: Any = {"heading": heading, "caption": caption, "notes": notes}
    return ht.build_table(name, columns, table.rows.to_dict("records"), drop_empty=True, **about)


def _baseline_notes(table: TaskTable) -> list[str]:
    """Return what each baseline reaches, as one note."""
    lines: Any = table.baselines.itertuples()
    texts = [
        f"{line.name} {format_score(table.metric, line.value)} ({line.note})" for line in lines
    ]
    return [f"Without a network: {'; '.join(texts)}."] if texts else []


def _score(metric: str, arm: str, row: dict[str, Any]) -> ht.Cell:
    value, half, seeds = row[arm], row[f"{arm}_half"], row[f"{arm}_seeds"]
    small = f"{seeds} seed{'s' * (seeds != 1)}"
    return ht.value_cell(value, lambda shown: format_score(metric, shown, half), small)


def _gain_columns(table: TaskTable) -> list[ht.Column]:
    """Return the gain of pre-training over each arm from scratch."""
    rows = table.gains[table.gains["arm"] == "pretrained"]
    columns = []
    for over in (arm for arm in table.arms if arm.startswith("scratch")):
        gains = rows[rows["over"] == over].set_index("label")
        help_text = f"of pre-training over {arm_words(over)}, by pairs of seeds; above 0 is better"
        title = "gain" + over.removeprefix("scratch")
        columns.append(ht.Column(title, help_text, partial(_gain, table.metric, gains)))
    return columns


def _gain(metric: str, gains: pd.DataFrame, row: dict[str, Any]) -> ht.Cell:
    if row["label"] not in gains.index:
        return ht.text_cell(NO_VALUE)
    gain = gains.loc[row["label"]]
    return ht.value_cell(gain["value"], lambda shown: format_gain(metric, shown, gain["half"]))


def _not_beaten(row: dict[str, Any]) -> ht.Cell:
    names = row["no_better_than"]
    return ht.words_cell(", ".join(names) or NO_VALUE, float(len(names)))


def _flops(row: dict[str, Any]) -> ht.Cell:
    return ht.value_cell(row["finetune_flops"], "{:.3g}".format, f"{row['pretraining_flops']:.3g}")


def _chart_title(table: TaskTable, *more: str) -> str:
    return ", ".join(filter(None, (table.task, *more, table.recipe, describe(table.metric).title)))


def efficiency_data(tables: list[TaskTable]) -> pd.DataFrame:
    """Return a line per architecture and arm over the examples of tasks with several numbers."""
    lines = (
        _efficiency_line(table, row, arm)
        for table in tables
        for row in table.rows.to_dict("records")
        for arm in table.arms
        if row[arm] == row[arm]
    )
    data = own_table(lines)
    data = data[data.groupby("panel")["x"].transform("nunique") > 1]
    if data.empty:
        return data
    dashes = dict(zip(data["arm"].unique(), DASHES * len(data), strict=False))
    ends = {"low": data["y"] - data["half"], "high": data["y"] + data["half"]}
    return data.assign(dash=data["arm"].map(dashes), **ends)


def _efficiency_line(table: TaskTable, row: Mapping[Any, Any], arm: str) -> dict[str, Any]:
    title, half = _chart_title(table), row[f"{arm}_half"]
    return {
        "group": title, "panel": title,
        "label": f"{row['label']}, {arm_title(arm)}", "base": row["label"], "arm": arm,
        "x": table.trained_on, "at": f"{table.trained_on:,} examples", "y": row[arm], "half": half,
        "text": format_score(table.metric, row[arm], half),
    }  # fmt: skip


def base_data(tables: list[TaskTable]) -> pd.DataFrame:
    """Return a point per pre-trained run of the tables that have several architectures."""
    lines = (
        {
            "group": title, "panel": title, "label": point["label"],
            "at": f"seed {point['seed']}, {format_fixed(point['bits'])} bits per byte",
            "x": point["bits"], "point": point["value"], "text": format_number(point["value"]),
        }
        for table in tables
        if table.points["label"].nunique() >= MIN_BASES
        for title in [_chart_title(table, f"{table.examples:,} examples" * bool(table.examples))]
        for point in table.points.to_dict("records")
    )  # fmt: skip
    return own_table(lines)


def distinct_tasks(analysis: Analysis) -> list[TaskTable]:
    """Return the first table of each task on all of its examples."""
    first = {table.task: table for table in reversed(analysis.tasks) if not table.examples}
    return list(reversed(first.values()))


def prediction_table(analysis: Analysis, table: TaskTable) -> ht.Table:
    """Return what each architecture, with its lowest seed, predicts for the first test examples."""
    records = analysis.records.tasks
    runs = records.runs[(records.runs["task"] == table.task) & (records.runs["examples"] == 0)]
    runs = runs[(runs["start"] == "pretrained") & (runs["status"] == "done") & ~runs["control"]]
    runs = runs.sort_values("seed").drop_duplicates("arch")
    examples = records.examples.merge(runs[["run", "arch"]], on="run")
    shown = examples[examples["example"] < SHOWN_EXAMPLES]
    by_example: Any = shown.groupby("example")
    columns = [
        ht.Column("example", "of the test part", _example),
        *(ht.Column(arch, "its prediction; ✓: right", partial(_prediction, arch))
          for arch in runs["arch"]),
    ]  # fmt: skip
    return ht.build_table(
        f"predictions-{table.task}", columns, by_example, folded=f"Predictions: {table.task}"
    )


def _example(row: tuple[int, pd.DataFrame]) -> ht.Cell:
    """Return the input of an example, and below it what is right."""
    first = row[1].iloc[0]
    if not isinstance(first["text"], str):  # of a record without texts
        return ht.text_cell(f"example {row[0] + 1}")
    return ht.words_cell(first["text"][:SHOWN_CHARACTERS], small=first["target"][:SHOWN_CHARACTERS])


def _prediction(arch: str, row: tuple[int, pd.DataFrame]) -> ht.Cell:
    """Return what an architecture predicts; `row`: an example and its predictions."""
    for one in row[1][row[1]["arch"] == arch].itertuples():
        mark = "✓ " if one.hit else ""
        return ht.text_cell(f"{mark}{str(one.prediction)[:SHOWN_CHARACTERS]}")
    return ht.text_cell(NO_VALUE)
