"""What a configuration says about budgets and learning rates; the fall of the loss at their end."""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.config.schema import tuned_learning_rate

Config = Mapping[str, Any]
TOKENS = "tokens"
OWN_SEARCH, NOTED_SEARCH, BY_HAND = "own search", "search noted in the YAML", "by hand"
SEARCH_NOTE = re.compile(r"size=(?P<size>\S+), (?P<steps>[\d,]+) steps of (?P<data>.+)")
COUNT_NAMES = {
    "all": "parameters",
    "without_embedding": "parameters without embeddings",
    "in_products": "parameters in matrix products",
}


def size_budget(config: Config) -> int:
    """Return the number that the width was solved for."""
    size = config["size"]
    return int(size["state_bytes"] if size.get("match") == "state" else size["parameters"])


def describe_size_budget(config: Config) -> str:
    """Return what the width was solved for: 800,000 parameters."""
    state = config["size"].get("match") == "state"
    unit = "bytes of state" if state else COUNT_NAMES[config["size"].get("count", "all")]
    return f"{size_budget(config):,} {unit}"


def describe_length(config: Config) -> str:
    """Return what the length was set by: `TOKENS`, or a budget of FLOPs or seconds."""
    train = config["train"]
    units = {"flops": "FLOPs", "seconds": "seconds at the measured rate"}
    unit = units.get(train.get("match", "tokens"))
    return f"{train['budget']:,g} {unit}" if unit else TOKENS


def _optimizer(config: Config) -> str:
    return str(config.get("optimizer", {}).get("kind", "adamw"))


def learning_rate(config: Config) -> float:
    """Return the learning rate as given, else of the architecture's YAML, else NaN."""
    rate = config["train"].get("learning_rate")
    if rate is None:
        rate = tuned_learning_rate(config["arch"], _optimizer(config))
    return float("nan") if rate is None else float(rate)


def _search(config: Config) -> Config:
    """Return the search that found the rate: the run's own, or what the architecture's YAML notes.

    The searches that YAMLs note were made with AdamW.
    """
    own = config.get("tune") or {}
    if own.get("trials"):
        return own
    by_yaml = config["train"].get("learning_rate") is None and _optimizer(config) == "adamw"
    return (config["arch"].get("tune") or {}) if by_yaml else {}


def _is_own_search(config: Config) -> bool:
    return bool((config.get("tune") or {}).get("trials"))


def search_settings_text(config: Config) -> str:
    """Return where the search that a YAML notes was made; empty for the run's own."""
    return "" if _is_own_search(config) else str(_search(config).get("searched") or "")


def rate_origin(config: Config) -> str:
    """Return where the learning rate comes from: `OWN_SEARCH`, `NOTED_SEARCH` or `BY_HAND`."""
    if not search_trials(config):
        return BY_HAND
    return OWN_SEARCH if _is_own_search(config) else NOTED_SEARCH


def searched_steps(config: Config) -> float:
    """Return the steps of a trial of the search that found the rate; NaN where none is noted."""
    if rate_origin(config) == OWN_SEARCH:
        return float(config["tune"].get("steps") or config["train"]["steps"])
    noted = _noted_search(config)
    return float(noted["steps"].replace(",", "")) if noted else float("nan")


def rate_elsewhere(config: Config) -> str:
    """Return in what the search that found the rate differs from the run: steps, size, data.

    `unnoted` where an architecture's YAML names a search and not where it was made.
    """
    origin, noted, names = rate_origin(config), _noted_search(config), config["names"]
    if origin == BY_HAND or (origin == NOTED_SEARCH and not noted):
        return "" if origin == BY_HAND else "unnoted"
    differs = ["steps"] if searched_steps(config) != config["train"]["steps"] else []
    differs += [name for name in ("size", "data") if noted and noted[name] != names[name]]
    return ", ".join(differs)


def _noted_search(config: Config) -> "re.Match[str] | None":
    return SEARCH_NOTE.fullmatch(search_settings_text(config))


def search_trials(config: Config) -> int:
    """Return how many trials found the learning rate; 0 where it was set by hand."""
    return int(_search(config).get("trials") or 0)


def search_edge(config: Config) -> str:
    """Return on which side no trial bounds the best one: low, high, both or none."""
    return str(_search(config).get("edge") or "") if search_trials(config) else ""


LAST_SHARE = 0.1  # of the steps
STILL_FALLING = 0.02  # relative fall over them from which a row is marked
LATE_COLUMNS = ["validation_nats_before_end", "validation_nats_at_end"]


def late_losses(curves: pd.DataFrame, done: pd.DataFrame) -> pd.DataFrame:
    """Return by row the validation loss at 90 % of the steps and at the last, means over seeds.

    `done`: the finished runs (`run`, `row`). A run without a value at both ends does not count.
    """
    curve = curves[["run", "step", "validation_nats"]].dropna().sort_values("step")
    curve = curve.merge(done[["run", "row"]], on="run").astype({"validation_nats": float})
    last = curve.groupby("run")["step"].transform("max")
    early = curve[curve["step"] <= (1 - LAST_SHARE) * last]
    ends = [table.groupby("run")["validation_nats"].last() for table in (early, curve)]
    table = pd.concat(ends, axis=1, keys=LATE_COLUMNS).dropna()
    rows = curve.drop_duplicates("run").set_index("run")["row"]
    return table.groupby(rows.reindex(table.index)).mean()


def late_fall(before: float, end: float) -> float:
    """Return the share of the loss that the last tenth of the steps removed; NaN if unknown."""
    return 1 - end / before if before > 0 else math.nan
