"""Collect the scores of fine-tuned runs by row and arm: of each seed and of each test example."""

import math

import numpy as np
import pandas as pd

from bench import stats
from bench.records.metrics import describe
from bench.records.task_tables import TaskTables
from bench.stats import Interval, Numbers

NONE = Interval(math.nan, math.nan, math.nan, "")


class TaskScores:
    """The scores of one table's runs, which have a `label` each."""

    def __init__(self, runs: pd.DataFrame, metric: str, tables: TaskTables) -> None:
        self.runs, self.metric = runs, metric
        names = set(runs["run"])
        numbers = tables.numbers[tables.numbers["run"].isin(names)]
        self.numbers = numbers.set_index(["run", "metric"])["value"].astype(float).to_dict()
        examples = tables.examples[tables.examples["run"].isin(names)]
        self.examples = {str(run): table for run, table in examples.groupby("run")}
        self.sign = -1.0 if describe(metric).better == "higher" else 1.0
        # what the runs start from, pre-trained first, and how many times as many steps they took
        self.arms: list[str] = sorted(set(runs["arm"]), key=lambda arm: (arm[0], len(arm), arm))

    def of(self, label: str, arm: str) -> pd.DataFrame:
        """Return the runs of a row in an arm, by seed."""
        chosen = (self.runs["label"] == label) & (self.runs["arm"] == arm)
        return self.runs[chosen].drop_duplicates("seed").set_index("seed").sort_index()

    def seeds(self, label: str, arm: str, metric: str = "") -> "pd.Series[float]":
        """Return the value of a metric, the table's own by default, for each seed."""
        name = metric or self.metric
        runs = self.of(label, arm)["run"]
        return runs.map(lambda run: self.numbers.get((run, name), math.nan)).dropna().astype(float)

    def units(self, label: str, arm: str) -> tuple[Numbers, Numbers]:
        """Return the loss of each unit of the test part, mean over seeds, and its size.

        A unit holds the examples of one digest, which depend on each other. Loss and size are
        nats and bytes for a likelihood, ln 2 and 1 per missed example for a share: loss over ln 2
        and size is then the metric, or one less it.
        """
        tables = [self.examples.get(run) for run in self.of(label, arm)["run"]]
        sums = [self._unit_sums(table) for table in tables if table is not None]
        if not sums or len(sums) < len(tables) or len({len(one) for one in sums}) > 1:
            return np.empty(0), np.empty(0)
        losses = np.mean([one["loss"].to_numpy(dtype=float) for one in sums], axis=0)
        return losses, sums[0]["size"].to_numpy(dtype=float)

    def _unit_sums(self, table: pd.DataFrame) -> pd.DataFrame:
        if self.metric == "answer_bits_per_byte":
            losses = table[["nats", "bytes"]].set_axis(["loss", "size"], axis=1)
        else:
            losses = pd.DataFrame({"loss": (1 - table["hit"]) * math.log(2), "size": 1.0})
        return losses.groupby(table["digest"]).sum()

    def interval(self, label: str, arm: str) -> Interval:
        """Return the mean of an arm with its 95 % interval over seeds and test examples."""
        seeds = np.asarray(self.seeds(label, arm), dtype=np.float64)
        if not len(seeds):
            return NONE
        loss, size = self.units(label, arm)
        return stats.mean_interval(seeds, unit_variance(loss, size), stats.effective_n(size))

    def gain(self, label: str, arm: str, over: str) -> Interval:
        """Return what an arm gains over another, by pairs of seeds and examples; over 0: better."""
        first, second = (self.seeds(label, each) for each in (arm, over))
        differences = np.asarray((self.sign * (second - first)).dropna(), dtype=np.float64)
        if not len(differences):
            return NONE
        (loss, size), (other, _) = (self.units(label, each) for each in (arm, over))
        variance = unit_variance(loss - other, size) if len(loss) == len(other) else math.nan
        return stats.mean_interval(differences, variance, stats.effective_n(size))


def unit_variance(loss: Numbers, size: Numbers) -> float:
    """Return the variance of Σ loss / (ln 2 · Σ size) over sampled units; NaN for fewer than 2."""
    if len(loss) < 2:
        return math.nan
    bits = loss / math.log(2)
    residuals = bits - size * bits.sum() / size.sum()
    return float(residuals.var(ddof=1) * len(loss) / size.sum() ** 2)
