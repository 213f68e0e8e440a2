"""Compute the digests that decide when two runs are the same."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from bench.config.dependencies import reward_run
from bench.config.fields import LATER
from bench.config.schema import Run, constructor_options, resolve_learning_rate
from bench.config.task_schema import NO_TASK, arm_name

# options with these values count as not given: "the best here", and one that came later
DEFAULT_OPTIONS = {"kernels": "auto", "pretrained": ""}


def digest(value: Any) -> str:
    """Return eight hexadecimal digits of a JSON-able value, the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity_fields(node: Any) -> dict[str, Any]:
    """Return the fields of a configuration dataclass that count for identity."""
    values = {}
    for field in fields(node):
        value, counts = getattr(node, field.name), field.metadata.get("identity", True)
        if counts and not (counts == LATER and value == _default(field)):
            values[field.name] = value
    return values


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def nested_fields(node: Any) -> dict[str, Any]:
    """Return the fields that count, those of groups within the dataclass too."""
    values = identity_fields(node)
    groups = {name: nested_fields(one) for name, one in values.items() if is_dataclass(one)}
    return values | groups


def _data_key(run: Run) -> dict[str, Any]:
    """Return what decides the tokens; parameters of a synthetic source only where one is used."""
    key = identity_fields(run.data)
    source = key.pop("synthetic")
    return key | ({"synthetic": identity_fields(source)} if run.data.source == "synthetic" else {})


def _constructor_key(arch: Mapping[str, Any]) -> dict[str, Any]:
    defaults = DEFAULT_OPTIONS.items()
    given = {k: v for k, v in constructor_options(arch).items() if (k, v) not in defaults}
    return given | {"_target_": arch.get("_target_")}


def architecture_id(arch: Mapping[str, Any]) -> str:
    """Return the digest of a class with its options, at any size; `arch` is its YAML."""
    return digest(_constructor_key(arch))


def weights_key(run: Run, seeded: bool = True) -> dict[str, Any]:
    """Return everything that changes the weights of a run, and nothing else."""
    groups = ("size", "objective", "train", "optimizer")
    key = {name: identity_fields(getattr(run, name)) for name in groups}
    # with equal steps it does not matter how they were planned
    key["train"] |= {"learning_rate": resolve_learning_rate(run), "match": "tokens"}
    key |= {"data": _data_key(run), "arch": _constructor_key(run.arch)}
    if run.task.kind != NO_TASK:
        key = _task_key(run, key)
    if run.preference.enabled:
        key["preference"] = nested_fields(run.preference)
    if (other := reward_run(run)) is not None:
        key["reward"] = weights_key(other)
    return key | ({"seed": run.seed} if seeded else {})


def _task_key(run: Run, base: dict[str, Any]) -> dict[str, Any]:
    """Return the key of a fine-tuning; without a base, how one is trained does not count."""
    task = identity_fields(run.task)
    if run.task.start != "scratch":  # so that one pre-trained arm serves every length of scratch
        task["scratch_steps"] = 1
    key = base | {"task": task}
    if run.task.start == "scratch":
        kept = ("learning_rate", "clip", "precision", "device")
        key["train"] = {name: base["train"][name] for name in kept}
        key["data"] = _vocabulary_key(run)
    return key


def _vocabulary_key(run: Run) -> dict[str, Any]:
    """Return what decides the vocabulary."""
    return {"tokenizer": "bytes"} if run.data.tokenizer == "bytes" else _data_key(run)


def identity(run: Run) -> str:
    """Return the digest of a run: with the same identity the weights are the same."""
    return digest(weights_key(run))


def variant(run: Run) -> str:
    """Return the identity without the seed: what tables average over seeds."""
    return digest(weights_key(run, seeded=False))


def workload_id(run: Run) -> str:
    """Return the digest of what decides speed and memory: neither seed nor text nor steps."""
    data = _vocabulary_key(run)
    if run.data.source == "synthetic":
        source = run.data.synthetic
        data = {"tokenizer": "symbols", "kind": source.kind, "symbols": source.symbols}
    names = ("batch", "accumulate", "precision", "compile", "device")
    shape = {name: getattr(run.train, name) for name in names}
    shape |= {"threads": run.threads, "clips": run.train.clip > 0, "optimizer": run.optimizer.kind}
    return digest({
        "arch": _constructor_key(run.arch), "data": data, "size": identity_fields(run.size),
        "objective": identity_fields(run.objective), "shape": shape,
    })  # fmt: skip


def run_name(run: Run) -> str:
    """Return the name of a run's folder: readable parts, then its identity."""
    parts = [run.names["arch"], run.names["data"]]
    if run.task.kind != NO_TASK:
        size = [f"n{run.task.examples}"] if run.task.examples else []
        start = [arm_name(run.task).replace(" × ", "")] if run.task.start != "pretrained" else []
        parts = [run.names["arch"], run.names["task"], *start, *size]
    return "-".join([*parts, f"s{run.seed}", identity(run)]).replace("/", "_")


def record_group(run: Run) -> str:
    """Return the folder of a suite that holds the run's record."""
    if run.preference.enabled:
        return "preferences"
    if run.data.source == "examples":
        return "task_bases"
    return "runs" if run.task.kind == NO_TASK else "tasks"
