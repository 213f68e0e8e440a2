"""Compare fine-tuned runs: per task, with and without pre-training, against each other and others.

Seeds and test examples are sampled; verdicts are those of `stats.pairwise_tests`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench import stats
from bench.analysis.task_scores import NONE, TaskScores
from bench.analysis.verdicts import control_pairs
from bench.records.metrics import describe
from bench.records.task_tables import TaskTables
from bench.stats import Groups, Interval, Numbers

HEADLINES = {  # of each kind of task; a table per headline
    "classification": ("label_accuracy",),
    "generation": ("answer_bits_per_byte", "exact_match"),
    "pairs": ("pair_accuracy",),
}
TASK_VERDICT_COLUMNS = (
    "task examples metric first second difference half adjusted kind basis control sentence"
).split()
CONTROL_SUFFIX = " (again)"


@dataclass(frozen=True)
class TaskTable:
    """The rows of one task, number of training examples and headline metric."""

    task: str
    kind: str
    examples: int  # asked for; 0: all
    trained_on: int  # training examples
    metric: str
    arms: list[str]  # columns of the rows, with `<arm>_half` and `<arm>_seeds`
    rows: pd.DataFrame  # a row per architecture, best first
    points: pd.DataFrame  # label, seed, bits (per byte), value of each pre-trained run
    gains: pd.DataFrame  # label, arm, over, value, half: of one arm over another
    baselines: pd.DataFrame  # name, note, value
    verdicts: pd.DataFrame  # a row per pair, of the pre-trained arm
    equal_order: bool  # the runs of each seed saw the same batches
    recipe: str = ""  # in what it differs from other tables of the task

    @property
    def title(self) -> str:
        """Return the task, and the number of training examples where it is not all of them."""
        size = [f"{self.examples:,} examples"] if self.examples else []
        return ", ".join([self.task, *size, *filter(None, [self.recipe])])


def build_task_tables(tables: TaskTables) -> list[TaskTable]:
    """Return a table for each group of runs that may be compared, and each headline metric."""
    done = tables.runs[tables.runs["status"] == "done"]
    labels = done["arch"] + np.where(done["control"], CONTROL_SUFFIX, "")
    keys, recipes = ["task", "kind", "group", "examples"], _recipes(done)
    return [
        _build_table(TaskScores(runs, metric, tables), tables.baselines, recipes[group])
        for (_, kind, group, _), runs in done.assign(label=labels).groupby(keys, sort=True)
        for metric in HEADLINES.get(str(kind), ())
    ]


def _recipes(done: pd.DataFrame) -> dict[Any, str]:
    """Return by group in what its recipe differs from those of other groups of the task."""
    differences: dict[Any, str] = {}
    for _, runs in done.groupby("task"):
        firsts = runs.drop_duplicates("group").set_index("group")["recipe"]
        keys = dict.fromkeys(key for recipe in firsts for key in recipe)
        differing = [key for key in keys if len({str(one.get(key)) for one in firsts}) > 1]
        for group, recipe in firsts.items():
            differences[group] = ", ".join(f"{key}={recipe.get(key)}" for key in differing)
    return differences


def _build_table(scores: TaskScores, contents: Sequence[dict[str, Any]], recipe: str) -> TaskTable:
    first = scores.runs.iloc[0]
    baselines = _baselines(first, scores.metric, contents)
    rows = [_row(label, scores, baselines) for label in dict.fromkeys(scores.runs["label"])]
    table = pd.DataFrame(rows)
    worth = scores.sign * table[scores.arms].bfill(axis=1).iloc[:, 0]
    return TaskTable(
        *(first["task"], first["kind"], int(first["examples"])),
        trained_on=int(first["trained_on"]),
        metric=scores.metric,
        arms=scores.arms,
        rows=table.loc[worth.sort_values(kind="stable").index].reset_index(drop=True),
        points=_points(scores),
        gains=_gains(scores),
        baselines=baselines,
        verdicts=_verdicts(scores),
        equal_order=_equal_order(scores.runs),
        recipe=recipe,
    )


def _equal_order(runs: pd.DataFrame) -> bool:
    """Tell whether runs of one seed and one number of steps saw the same batches."""
    lengths = runs["arm"].str.extract("(×.*)", expand=False).fillna("")
    return bool((runs.groupby(["seed", lengths])["order_digest"].nunique() <= 1).all())


def _row(label: str, scores: TaskScores, baselines: pd.DataFrame) -> dict[str, Any]:
    intervals = {arm: scores.interval(label, arm) for arm in scores.arms}
    shown = next(filter(lambda one: one.basis, intervals.values()), NONE)
    row = _base_columns(label, scores)
    for arm, interval in intervals.items():
        row |= {arm: interval.value, f"{arm}_half": interval.half}
        row[f"{arm}_seeds"] = len(scores.seeds(label, arm))
    return row | {"no_better_than": list(_not_beaten(shown, baselines, scores.sign))}


def _base_columns(label: str, scores: TaskScores) -> dict[str, Any]:
    """Return the names of a row, and what pre-training cost and reached."""
    first = scores.runs[scores.runs["label"] == label].iloc[0]
    bits = scores.of(label, "pretrained")["base_bits_per_byte"].astype(float)
    columns: dict[str, Any] = {"label": label, "base_bits_per_byte": bits.mean()}
    for name in ("pretraining_flops", "finetune_flops"):
        columns[name] = scores.seeds(label, "pretrained", name).mean()
    return columns | {name: first[name] for name in ("arch", "encoder")}


def _points(scores: TaskScores) -> pd.DataFrame:
    """Return the score of each pre-trained run beside the loss of what it started from."""
    runs = scores.runs[(scores.runs["arm"] == "pretrained") & ~scores.runs["control"]]
    values = np.array([scores.numbers.get((run, scores.metric), np.nan) for run in runs["run"]])
    bits = runs["base_bits_per_byte"].astype(float)
    return runs[["label", "seed"]].assign(bits=bits, value=values).dropna()


def _gains(scores: TaskScores) -> pd.DataFrame:
    """Return what each arm gains over each later one, by row."""
    rows = [
        (label, arm, over, gain.value, gain.half)
        for arm, over in itertools.combinations(scores.arms, 2)
        for label in dict.fromkeys(scores.runs["label"])
        if (gain := scores.gain(label, arm, over)).basis
    ]
    return pd.DataFrame(rows, columns=["label", "arm", "over", "value", "half"])


def _not_beaten(interval: Interval, baselines: pd.DataFrame, sign: float) -> Iterator[str]:
    """Yield the baselines that are not worse than the whole interval."""
    worst = interval.low if sign < 0 else interval.high
    for name, value in zip(baselines["name"], baselines["value"], strict=True):
        if not sign * (worst - value) < 0:
            yield name


def _baselines(
    first: "pd.Series[Any]", metric: str, contents: Sequence[dict[str, Any]]
) -> pd.DataFrame:
    """Return the baselines of a task and number of examples that have the metric."""
    names, rows = ("task", "data_digest", "examples"), []
    for content in contents:
        if all(content.get(name) == first[name] for name in names):
            for line in content["lines"]:
                values = {one["name"]: one["values"] for one in line["metrics"]}
                if values.get(metric):
                    rows.append((line["name"], line["note"], float(values[metric][0])))
    return pd.DataFrame(rows, columns=["name", "note", "value"])


# --- verdicts -------------------------------------------------------------------------------------


def _verdicts(scores: TaskScores) -> pd.DataFrame:
    """Return the verdict on every pair of rows of the pre-trained arm."""
    by_label = {label: scores.seeds(label, "pretrained") for label in scores.runs["label"].unique()}
    labels = [label for label, seeds in by_label.items() if len(seeds)]
    if len(labels) < 2:
        return pd.DataFrame(columns=TASK_VERDICT_COLUMNS)
    offset = 1.0 if scores.sign < 0 else 0.0  # a share of hits is judged by that of misses
    seeds = [np.asarray(offset + scores.sign * by_label[one], np.float64) for one in labels]
    table = stats.pairwise_tests(*_groups(seeds, labels, scores), aa_pairs=_control_pairs(labels))
    for end in ("first", "second"):
        table[end] = [labels[place] for place in table[end]]
    first = scores.runs.iloc[0]
    table = table.assign(task=first["task"], examples=first["examples"], metric=scores.metric)
    table["sentence"] = [verdict_text(pair) for pair in table.itertuples()]
    return table[TASK_VERDICT_COLUMNS]


def _control_pairs(labels: Sequence[str]) -> list[tuple[int, int]]:
    names = pd.Series(labels)
    variants, controls = names.str.removesuffix(CONTROL_SUFFIX), names.str.endswith(CONTROL_SUFFIX)
    return control_pairs(pd.DataFrame({"variant": variants, "control": controls}))


def _groups(seeds: list[Numbers], labels: list[str], scores: TaskScores) -> Groups:
    units = [scores.units(label, "pretrained") for label in labels]
    sizes = units[0][1]
    if any(len(loss) != len(sizes) or not len(loss) for loss, _ in units):
        return Groups(seeds, np.empty((len(seeds), 0)), np.empty(0))
    return Groups(seeds, np.stack([loss for loss, _ in units]), sizes)


def verdict_text(pair: Any) -> str:
    """Return the verdict on a pair as a sentence."""
    spec = describe(pair.metric)
    scale, unit = (100, "points") if spec.unit == "share" else (1, spec.unit)
    by = f"{scale * pair.difference:.3g} ± {scale * pair.half:.2g} {unit}"
    by += ", over test examples only" if pair.basis == "documents" else ""
    if pair.kind == stats.BETTER:
        return f"{pair.first} is better than {pair.second} by {by}"
    if pair.kind == stats.ONE_SEED_DECIDES:
        return f"{pair.first} is better than {pair.second} on average, but one seed decides"
    if pair.kind == stats.NOT_DISTINGUISHABLE:
        return f"{pair.first} and {pair.second} are not distinguishable ({by})"
    return f"no verdict on {pair.first} and {pair.second}"
