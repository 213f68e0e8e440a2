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
NEEDED_COLUMNS = "arch select target needed saved".split()


def curve_table(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return a row per architecture, strategy and size: means, and gains over random labels.

    Gains are paired by repeat; their standard errors are over repeats of all seeds.
    """
    curves = numbers[(numbers["kind"] == "curve") & ~numbers["control"].astype(bool)]
    return pd.DataFrame(_curve_rows(curves), columns=CURVE_COLUMNS)


def _curve_rows(curves: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for key, rows in curves.groupby(["arch", "labels"]):
        samples = {
            (str(select), str(metric)): np.concatenate(list(own.sort_values("seed")["values"]))
            for (select, metric), own in rows.groupby(["method", "metric"])
        }
        for select in dict.fromkeys(rows["method"]):
            accuracy = samples[select, "reward_accuracy"]
            regret = samples[select, "reward_regret"]
            gains = accuracy - samples.get(("random", "reward_accuracy"), np.nan)
            nats = samples.get(("random", "reward_regret"), np.nan) - regret
            yield {
                "arch": key[0], "select": select, "labels": key[1],
                "accuracy": accuracy.mean(), "regret": regret.mean(),
                "gain": gains.mean(), "gain_error": gains.std(ddof=1) / len(gains) ** 0.5,
                "regret_gain": nats.mean(),
                "regret_gain_error": nats.std(ddof=1) / len(nats) ** 0.5,
            }  # fmt: skip


def needed_table(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the labels that each strategy needs for what most random labels give."""
    return pd.DataFrame(_needed_rows(curves), columns=NEEDED_COLUMNS)


def _needed_rows(curves: pd.DataFrame) -> Iterator[dict[str, Any]]:
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
            saved = 1 - count / needed["random"]
            yield {
                "arch": arch,
                "select": select,
                "target": target,
                "needed": count,
                "saved": saved,
            }
