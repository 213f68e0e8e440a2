"""Which runs are variants of one architecture, and what each is called. Imports no torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from bench.config.schema import (
    DataConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SizeConfig,
    TrainConfig,
    constructor_options,
    tuned_learning_rate,
)

GROUPS = {
    "data": DataConfig,
    "size": SizeConfig,
    "objective": ObjectiveConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
}
EXCLUDED_FIELDS = {
    group: {f.name for f in fields(kind) if f.metadata.get("identity") is False}
    for group, kind in GROUPS.items()
}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _compared_options(config: Mapping[str, Any]) -> dict[str, Any]:
    arch, train = config["arch"], dict(config["train"])
    if train.get("learning_rate") is None:
        train["learning_rate"] = tuned_learning_rate(
            arch, config.get("optimizer", {}).get("kind", "adamw")
        )
    groups = {group: config[group] for group in GROUPS if group in config} | {"train": train}
    kept = {
        group: {key: value for key, value in of.items() if key not in EXCLUDED_FIELDS[group]}
        for group, of in groups.items()
    }
    return {"arch": constructor_options(arch) | {"class": arch.get("_target_")}, **kept}


def without_size_and_steps(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its size and its length: alike for all cells of a scaling law."""
    cut = {"size": ("parameters", "state_bytes", "match"), "train": ("steps", "match")}
    return {
        **config,
        **{
            group: {k: v for k, v in config[group].items() if k not in keys}
            for group, keys in cut.items()
        },
    }


def recipe(config: Mapping[str, Any]) -> str:
    """What sets variants apart but for size and length, as text."""
    return json.dumps(
        _compared_options(without_size_and_steps(config)), sort_keys=True, default=str
    )


def variant_labels(runs: pd.DataFrame) -> list[str]:
    """A name for each run's variant: its architecture's, and where that has several variants, what sets them apart."""
    said: dict[str, str] = {}
    for arch, group in runs.groupby("arch"):
        firsts = group.drop_duplicates("variant")
        flats = [dict(_flatten(_compared_options(config))) for config in firsts["config"]]
        keys = [
            key
            for key in dict.fromkeys(key for flat in flats for key in flat)
            if len({str(f.get(key)) for f in flats}) > 1
        ]
        for name, flat in zip(firsts["variant"], flats, strict=True):
            differences = ", ".join(f"{key.rpartition('.')[2]}={flat.get(key)}" for key in keys)
            label = f"{arch} ({differences or name})" if len(firsts) > 1 else str(arch)
            said[name] = label if label not in said.values() else f"{label} {name}"
    return [said[name] for name in runs["variant"]]
