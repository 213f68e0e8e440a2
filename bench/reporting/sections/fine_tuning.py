"""The section of fine-tuning: three answers and a table per task, and predictions side by side."""

from functools import partial
from typing import Any

import pandas as pd

from bench.analysis.build import Analysis
from bench.analysis.fine_tuning import TaskTable
from bench.analysis.formatting import NO_VALUE, format_number
from bench.analysis.task_answers import format_gain, format_score, task_answers
from bench.records.metrics import describe
from bench.reporting.charts.label_efficiency import EFFICIENCY, label_efficiency
from bench.reporting.html_table import (
    Cell,
    Column,
    Table,
    build_table,
    name_column,
    text_cell,
    value_cell,
    words_cell,
)
from bench.reporting.section import Chart, Section, render

SHOWN_EXAMPLES = 10
SHOWN_CHARACTERS = 160


def fine_tuning_section(analysis: Analysis) -> Section | None:
    """Return what runs were fine-tuned for; None where nothing was."""
    if not analysis.tasks:
        return None
    sizes = efficiency_data(analysis.tasks)
    curves = tuple(
        Chart(f"label-efficiency-{n}", task, label_efficiency(task, "score"))
        for n, task in enumerate(sizes["task"].unique())
    )
    html = render(
        "fine_tuning.html",
        charts=curves,
        tasks=[
            {"answers": list(task_answers(table)), "table": task_table(f"task-{number}", table)}
            for number, table in enumerate(analysis.tasks)
        ],
        predictions=[*map(partial(prediction_table, analysis), distinct_tasks(analysis))],
    )
    data = {EFFICIENCY: sizes} if curves else {}
    return Section("fine-tuning", "Fine-tuning", html, curves, data)


def task_table(name: str, table: TaskTable) -> Table:
    """Return the table of a task: both arms, the gain, and what each row does not beat."""
    metric, title = table.metric, describe(table.metric).title
    columns = [
        name_column(lambda row: text_cell(row.label)),
        Column("pre-trained", f"{title} from pre-trained weights",
               partial(_score, metric, "pretrained")),
        Column("from scratch", f"{title} from initial values: same examples, order and steps",
               partial(_score, metric, "scratch")),
        Column("gain", "pre-trained against scratch, over pairs of seeds; above zero is better",
               partial(_gain, metric)),
        Column("no better than", "baselines that the row’s interval does not leave behind",
               _not_beaten),
        Column("base, bits per byte", "held-out loss of what was fine-tuned",
               lambda row: value_cell(row.base_bits_per_byte, format_number)),
        Column("FLOPs", "of fine-tuning; below it those of pre-training", _flops),
    ]  # fmt: skip
    return build_table(
        name,
        columns,
        table.rows.itertuples(),
        drop_empty=True,
        heading=f"{table.title}: {title}",
        caption="± is half of the 95 % interval over seeds and test examples.",
        notes=_baseline_notes(table),
    )


def _baseline_notes(table: TaskTable) -> list[str]:
    """Return what each baseline reaches, as one note."""
    lines: Any = table.baselines.itertuples()
    texts = [
        f"{line.name} {format_score(table.metric, line.value)} ({line.note})" for line in lines
    ]
    return [f"Without a network: {'; '.join(texts)}."] if texts else []


def _score(metric: str, arm: str, row: Any) -> Cell:
    value, half = getattr(row, arm), getattr(row, f"{arm}_half")
    seeds = row.seeds if arm == "pretrained" else row.scratch_seeds
    small = f"{seeds} seed{'s' * (seeds != 1)}"
    return value_cell(value, lambda shown: format_score(metric, shown, half), small)


def _gain(metric: str, row: Any) -> Cell:
    return value_cell(row.gain, lambda shown: format_gain(metric, shown, row.gain_half))


def _not_beaten(row: Any) -> Cell:
    return words_cell(", ".join(row.no_better_than) or NO_VALUE, float(len(row.no_better_than)))


def _flops(row: Any) -> Cell:
    return value_cell(row.finetune_flops, "{:.3g}".format, f"{row.pretraining_flops:.3g}")


def efficiency_data(tables: list[TaskTable]) -> pd.DataFrame:
    """Return a row per table, architecture and arm of tasks with several numbers of examples."""
    rows = [
        {
            "task": ", ".join(
                filter(None, (table.task, table.recipe, describe(table.metric).title))
            ),
            "examples": table.trained_on,
            "label": row.label,
            "arm": arm,
            "value": getattr(row, arm),
            "low": getattr(row, arm) - getattr(row, f"{arm}_half"),
            "high": getattr(row, arm) + getattr(row, f"{arm}_half"),
        }
        for table in tables
        for row in table.rows.itertuples()
        for arm in ("pretrained", "scratch")
    ]
    data = pd.DataFrame(rows).dropna(subset="value")
    return data[data.groupby("task")["examples"].transform("nunique") > 1]


def distinct_tasks(analysis: Analysis) -> list[TaskTable]:
    """Return the first table of each task on all of its examples."""
    first = {table.task: table for table in reversed(analysis.tasks) if not table.examples}
    return list(reversed(first.values()))


def prediction_table(analysis: Analysis, table: TaskTable) -> Table:
    """Return what each architecture, with its lowest seed, predicts for the first test examples."""
    records = analysis.records.tasks
    runs = records.runs[(records.runs["task"] == table.task) & (records.runs["examples"] == 0)]
    runs = runs[(runs["start"] == "pretrained") & (runs["status"] == "done") & ~runs["control"]]
    runs = runs.sort_values("seed").drop_duplicates("arch")
    examples = records.examples.merge(runs[["run", "arch"]], on="run")
    shown = examples[examples["example"] < SHOWN_EXAMPLES]
    by_example: Any = shown.groupby("example")
    columns = [
        Column("example", "of the test part", _example),
        *(Column(arch, "its prediction; ✓: right", partial(_prediction, arch))
          for arch in runs["arch"]),
    ]  # fmt: skip
    return build_table(
        f"predictions-{table.task}", columns, by_example, folded=f"Predictions: {table.task}"
    )


def _example(row: tuple[int, pd.DataFrame]) -> Cell:
    """Return the input of an example, and below it what is right."""
    first = row[1].iloc[0]
    if not isinstance(first["text"], str):  # of a record without texts
        return text_cell(f"example {row[0] + 1}")
    return words_cell(first["text"][:SHOWN_CHARACTERS], small=first["target"][:SHOWN_CHARACTERS])


def _prediction(arch: str, row: tuple[int, pd.DataFrame]) -> Cell:
    """Return what an architecture predicts; `row`: an example and its predictions."""
    for one in row[1][row[1]["arch"] == arch].itertuples():
        mark = "✓ " if one.hit else ""
        return text_cell(f"{mark}{str(one.prediction)[:SHOWN_CHARACTERS]}")
    return text_cell(NO_VALUE)
