"""Say what labels are worth by how they are chosen, from the label curves of a study."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.stats.frontiers import labels_needed

TARGET_SHARE = 0.95  # of what random labels gain over chance at the largest size
CURVE_COLUMNS = (
    "arch select labels accuracy regret gain gain_error regret_gain regret_gain_error".split()
)
METRICS = ("reward_accuracy", "reward_regret")
NEEDED_COLUMNS = "arch select target needed saved".split()


def curve_table(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return a row per architecture, strategy and size: means, and gains over random labels.

    Gains are paired by repeat; their standard errors are over repeats of all seeds.
    """
    curves = numbers[(numbers["kind"] == "curve") & ~numbers["control"].astype(bool)]
    return pd.DataFrame(_curve_rows(curves), columns=CURVE_COLUMNS)


def _curve_rows(curves: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for (arch, labels), rows in curves.groupby(["arch", "labels"]):
        samples = {
            (str(select), str(metric)): np.concatenate(list(own.sort_values("seed")["values"]))
            for (select, metric), own in rows.groupby(["method", "metric"])
        }
        random = [samples.get(("random", name), np.nan) for name in METRICS]
        for select in dict.fromkeys(rows["method"]):
            accuracy, regret = (samples[select, name] for name in METRICS)
            gains = [accuracy - random[0], random[1] - regret]
            pairs = [(own.mean(), own.std(ddof=1) / len(own) ** 0.5) for own in gains]
            yield arch, select, labels, accuracy.mean(), regret.mean(), *pairs[0], *pairs[1]


def needed_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the labels that each strategy needs for what most random labels give."""
    return pd.DataFrame(_needed_rows(curves), columns=NEEDED_COLUMNS)


def _needed_rows(curves: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for arch, rows in curves.groupby("arch"):
        random = rows[rows["select"] == "random"].sort_values("labels")
        if not len(random):
            continue
        target = 0.5 + TARGET_SHARE * (random["accuracy"].iloc[-1] - 0.5)
        needed = {
            str(select): labels_needed(own["labels"].tolist(), own["accuracy"].tolist(), target)
            for select, own in rows.sort_values("labels").groupby("select", sort=False)
        }
        for select, count in needed.items():
            yield arch, select, target, count, 1 - count / needed["random"]
