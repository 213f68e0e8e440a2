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


def _rows(numbers: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for key, rows in few_label_looks(numbers).groupby(["arch", "control", "seed"]):
        wide = rows.pivot_table(index="update", columns="metric", values="value").sort_index()
        if "gold_reward" not in wide:
            continue
        gold, proxy, kl = (wide[name] for name in ("gold_reward", "proxy_reward", "response_kl"))
        about = (*key, int(rows["labels"].iloc[0]), float(rows["beta"].iloc[0]))
        peak = (gold.iloc[0], gold.max(), kl.iloc[int(gold.argmax())])
        end = (gold.iloc[-1], kl.iloc[-1], proxy.iloc[-1] - proxy.iloc[0])
        yield *about, *peak, *end, gold.max() - gold.iloc[-1]


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
