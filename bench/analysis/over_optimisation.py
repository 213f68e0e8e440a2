"""Show over-optimisation: gold that falls while the proxy rises, and the forms fitted to it."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.stats.frontiers import FrontierFit, fit_frontier

COLUMNS = (
    "arch control seed labels beta start_gold peak_gold peak_kl end_gold end_kl proxy_gain lost"
).split()


def few_label_looks(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the looks of the policies that are trained on few labels."""
    rewards = numbers[numbers["kind"] == "reward"]
    most = rewards.groupby("run")["labels"].transform("max")
    few = rewards[rewards["labels"] < most][["run", "labels"]].drop_duplicates()
    return numbers[numbers["kind"] == "policy"].merge(few, on=["run", "labels"])


def over_optimisation(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return for each stage the gold at its peak and at the end, as the proxy rises."""
    return pd.DataFrame(_rows(numbers), columns=COLUMNS)


def _rows(numbers: pd.DataFrame) -> Iterator[dict[str, Any]]:
    looks = few_label_looks(numbers)
    for key, rows in looks.groupby(["arch", "control", "seed"]):
        wide = rows.pivot_table(index="update", columns="metric", values="value").sort_index()
        if "gold_reward" not in wide:
            continue
        gold, proxy = wide["gold_reward"], wide["proxy_reward"]
        yield {
            **dict(zip(("arch", "control", "seed"), key, strict=True)),
            "labels": int(rows["labels"].iloc[0]),
            "beta": float(rows["beta"].iloc[0]),
            "start_gold": gold.iloc[0],
            "peak_gold": gold.max(),
            "peak_kl": wide["response_kl"].iloc[int(gold.argmax())],
            "end_gold": gold.iloc[-1],
            "end_kl": wide["response_kl"].iloc[-1],
            "proxy_gain": proxy.iloc[-1] - proxy.iloc[0],
            "lost": gold.max() - gold.iloc[-1],
        }


def fit_forms(frontier: pd.DataFrame, method: str) -> dict[str, dict[str, FrontierFit]]:
    """Return the forms of Gao et al. 2022, fitted to best of n and a method, by architecture."""
    fits: dict[str, dict[str, FrontierFit]] = {}
    for form, name in (("best_of", "best_of"), ("rl", method)):
        rows = frontier[(frontier["method"] == name) & ~frontier["control"].astype(bool)]
        for arch, own in rows[rows["gain"].notna()].groupby("arch"):
            fit = fit_frontier(form, own["kl"].to_numpy(float), own["gain"].to_numpy(float))
            if fit is not None:
                fits.setdefault(str(arch), {})[form] = fit
    return fits
