"""What a run's configuration says of its budgets and of its learning rate, in words and numbers."""

from collections.abc import Mapping
from typing import Any

from bench.config.schema import tuned_learning_rate

Config = Mapping[str, Any]
TOKENS = "tokens"
COUNT_NAMES = {
    "all": "parameters",
    "without_embedding": "parameters without embeddings",
    "in_products": "parameters in matrix products",
}


def size_budget(config: Config) -> int:
    """The number that the width was solved for."""
    size = config["size"]
    return int(size["state_bytes"] if size.get("match") == "state" else size["parameters"])


def describe_size_budget(config: Config) -> str:
    """What the width was solved for: 800,000 parameters."""
    size = config["size"]
    if size.get("match") == "state":
        return f"{size['state_bytes']:,} bytes of state"
    return f"{size['parameters']:,} {COUNT_NAMES[size.get('count', 'all')]}"


def describe_length(config: Config) -> str:
    """What the length was set by: tokens, or a budget of FLOPs or seconds."""
    train = config["train"]
    unit = {"flops": "FLOPs", "seconds": "seconds at the measured rate"}.get(
        train.get("match", "tokens")
    )
    return f"{train['budget']:,g} {unit}" if unit else TOKENS


def learning_rate(config: Config) -> float:
    """The learning rate: as given, or as the architecture's YAML says; NaN where neither does."""
    given = config["train"].get("learning_rate")
    found = (
        given
        if given is not None
        else tuned_learning_rate(config["arch"], config.get("optimizer", {}).get("kind", "adamw"))
    )
    return float(found) if found is not None else float("nan")


def _search_facts(config: Config) -> Config:
    """Where the learning rate comes from: the run's own search, or the one that its architecture's YAML tells of."""
    own = config.get("tune") or {}
    if own.get("trials"):
        return own
    told = config["arch"].get("tune") or {}
    given, optimizer = (
        config["train"].get("learning_rate"),
        config.get("optimizer", {}).get("kind", "adamw"),
    )
    return (
        told if given is None and optimizer == "adamw" else {}
    )  # the searches that YAMLs tell of were with AdamW


def search_settings_text(config: Config) -> str:
    """Where a search that a YAML tells of was made: at size=small, 400 steps of python_docs. Nothing for the run's own."""
    return (
        ""
        if (config.get("tune") or {}).get("trials")
        else str(_search_facts(config).get("searched") or "")
    )


def search_trials(config: Config) -> int:
    """How many trials found the learning rate; 0: it was set by hand."""
    return int(_search_facts(config).get("trials") or 0)


def search_edge(config: Config) -> str:
    """On which side no trial bounds the best one: low, high, both or none."""
    return str(_search_facts(config).get("edge") or "") if search_trials(config) else ""
