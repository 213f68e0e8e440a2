"""What makes two runs the same: digests of what changes their weights, or their speed. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bench.config.schema import Run, constructor_options, resolve_learning_rate

DEFAULT_OPTIONS = {
    "kernels": "auto"
}  # an option that says to take what is best here is as good as not given: records keep their names


def digest(value: Any) -> str:
    """Eight hexadecimal digits of a JSON-able value: the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity_fields(node: Any) -> dict[str, Any]:
    """The fields of a dataclass that count for identity."""
    counts = {f.name: f.metadata.get("identity", True) for f in fields(node)}
    unset = {
        f.name
        for f in fields(node)
        if counts[f.name] == "later" and getattr(node, f.name) == f.default
    }
    return {
        name: getattr(node, name) for name, does in counts.items() if does and name not in unset
    }


def _data_key(run: Run) -> dict[str, Any]:
    """What decides the tokens; the numbers of a law only where one draws them."""
    found = identity_fields(run.data)
    law = found.pop("synthetic")
    return found | ({"synthetic": identity_fields(law)} if run.data.source == "synthetic" else {})


def _constructor_key(arch: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        name: value
        for name, value in constructor_options(arch).items()
        if (name, value) not in DEFAULT_OPTIONS.items()
    }
    return given | {"_target_": arch.get("_target_")}


def architecture_id(arch: Mapping[str, Any]) -> str:
    """Names a class with its options, at any size: `arch` is its YAML."""
    return digest(_constructor_key(arch))


def weights_key(run: Run, seeded: bool = True) -> dict[str, Any]:
    """What changes the weights of a run, and nothing else."""
    key = {
        name: identity_fields(getattr(run, name))
        for name in ("size", "objective", "train", "optimizer")
    } | {"data": _data_key(run)}
    key["train"] |= {
        "learning_rate": resolve_learning_rate(run),
        "match": "tokens",
    }  # however they were planned, the steps say it all
    return key | {"arch": _constructor_key(run.arch)} | ({"seed": run.seed} if seeded else {})


def identity(run: Run) -> str:
    """Names the run: two runs with the same identity have the same weights."""
    return digest(weights_key(run))


def variant(run: Run) -> str:
    """The run's identity without its seed: what tables average over seeds."""
    return digest(weights_key(run, seeded=False))


def workload_id(run: Run) -> str:
    """What is measured for speed and memory: an architecture at a size, whatever it was trained on, from whichever seed."""
    text = _data_key(run)  # the vocabulary comes from it
    if run.data.tokenizer == "bytes":
        text = {"tokenizer": "bytes"}
    elif run.data.source == "synthetic":
        text = {
            "tokenizer": "symbols",
            "kind": run.data.synthetic.kind,
            "symbols": run.data.synthetic.symbols,
        }
    shape = {
        name: getattr(run.train, name)
        for name in ("batch", "accumulate", "precision", "compile", "device")
    }
    shape |= {"threads": run.threads, "clips": run.train.clip > 0, "optimizer": run.optimizer.kind}
    parts = {
        "arch": _constructor_key(run.arch),
        "data": text,
        "size": identity_fields(run.size),
        "objective": identity_fields(run.objective),
    }
    return digest(parts | {"shape": shape})


def run_name(run: Run) -> str:
    """The folder's name of a run: readable in front, its identity behind."""
    return f"{run.names['arch']}-{run.names['data']}-s{run.seed}-{identity(run)}".replace("/", "_")
