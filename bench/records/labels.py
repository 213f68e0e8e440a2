"""Name the variants of an architecture by what distinguishes their configurations."""

import json
from collections.abc import Iterator, Mapping, Sequence
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
    group: {field.name for field in fields(kind) if field.metadata.get("identity") is False}
    for group, kind in GROUPS.items()
}
SCALED = {"size": ("parameters", "state_bytes", "match"), "train": ("steps", "match")}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _compared_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can distinguish the variants of an architecture."""
    arch, train = config["arch"], dict(config["train"])
    if train.get("learning_rate") is None:
        train["learning_rate"] = tuned_learning_rate(
            arch, config.get("optimizer", {}).get("kind", "adamw")
        )
    groups = {group: config[group] for group in GROUPS if group in config} | {"train": train}
    compared = {
        group: {key: value for key, value in tree.items() if key not in EXCLUDED_FIELDS[group]}
        for group, tree in groups.items()
    }
    return {"arch": constructor_options(arch) | {"class": arch.get("_target_")}, **compared}


def without_size_and_steps(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without its size and length: equal for all runs of a scaling law."""
    scaled = {
        group: {key: value for key, value in config[group].items() if key not in keys}
        for group, keys in SCALED.items()
    }
    return {**config, **scaled}


def recipe(config: Mapping[str, Any]) -> str:
    """Return what distinguishes variants other than size and length, as text."""
    return json.dumps(
        _compared_options(without_size_and_steps(config)), sort_keys=True, default=str
    )


def _differing_keys(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for one in flat for key in one)
    return [key for key in keys if len({str(one.get(key)) for one in flat}) > 1]


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the settings in which two configurations are different variants: `train.steps`."""
    return _differing_keys([dict(_flatten(_compared_options(one))) for one in (first, second)])


def variant_labels(runs: pd.DataFrame) -> list[str]:
    """Return a label per run: the architecture's name, with what distinguishes its variants."""
    labels: dict[str, str] = {}
    for arch, group in runs.groupby("arch"):
        firsts = group.drop_duplicates("variant")
        flat = [dict(_flatten(_compared_options(config))) for config in firsts["config"]]
        keys = _differing_keys(flat)
        for variant, one in zip(firsts["variant"], flat, strict=True):
            differences = ", ".join(f"{key.rpartition('.')[2]}={one.get(key)}" for key in keys)
            label = f"{arch} ({differences or variant})" if len(firsts) > 1 else str(arch)
            labels[variant] = f"{label} {variant}" if label in labels.values() else label
    return [labels[variant] for variant in runs["variant"]]
