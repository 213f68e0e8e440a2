"""Find the settings in which the rows of a comparison differ without being compared by them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.analysis.comparisons import Comparison
from bench.records.metrics import TRAINING_FLOPS_FACTOR

MAX_UNUSED_BUDGET = 0.03  # a larger unused share is marked
COUNT_METRICS = {
    "all": "parameters",
    "without_embedding": "parameters_without_embedding",
    "in_products": "parameters_in_products",
}


def fairness_rows(part: Comparison) -> tuple[list[Any], list[Any]]:
    """Return the rows but the A/A control, and the first finished run of each with its FLOPs."""
    runs = part.runs.sort_values("seed").drop_duplicates("row").set_index("row")
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, "flops_per_token", "tokens_seen"])))
    per_token = TRAINING_FLOPS_FACTOR * runs["flops_per_token"].astype(float)
    runs = runs.assign(
        train_flops_per_token=per_token, train_flops=per_token * runs["tokens_seen"].astype(float)
    )
    rows = part.rows[part.rows.index.isin(runs.index) & ~part.rows["control"].astype(bool)]
    return list(rows.itertuples()), list(runs.loc[rows.index].itertuples())


def differing_places(archs: Sequence[str], values: Sequence[Any]) -> set[int]:
    """Return the places of the values that not every architecture has.

    Where no value is shared by all, the places of all but the most common one. Where every
    architecture has the same several values, these were compared, and none is marked.
    """
    values = ["nan" if value != value else value for value in values]
    values_of: dict[str, set[Any]] = {}
    for arch, value in zip(archs, values, strict=True):
        values_of.setdefault(arch, set()).add(value)
    shared = set.intersection(*values_of.values()) if values_of else set()
    if not shared:
        counts = Counter(value for own in values_of.values() for value in own).most_common(2)
        if len(counts) == 1 or (counts and counts[0][1] > counts[1][1]):
            shared = {counts[0][0]}
    return {place for place, value in enumerate(values) if value not in shared}


def unused_budgets(runs: Sequence[Any]) -> dict[str, set[int]]:
    """Return by metric the places of runs that leave more than MAX_UNUSED_BUDGET unused."""
    places: dict[str, set[int]] = {}
    for place, run in enumerate(runs):
        train, size = run.config["train"], run.config["size"]
        least = (1 - MAX_UNUSED_BUDGET) * (train.get("budget") or 0)
        if train.get("match") == "flops" and run.train_flops < least:
            places.setdefault("train_flops", set()).add(place)
        slack = getattr(run, "budget_slack", 0.0)
        if size.get("match", "parameters") == "parameters" and slack > MAX_UNUSED_BUDGET:
            metric = COUNT_METRICS[size.get("count", "all")]
            places.setdefault(metric, set()).add(place)
    return places
