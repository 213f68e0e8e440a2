"""What the files of a record have to hold, and what is wrong with one that does not. Imports no torch.

Whatever spoiled a file (a full disk, a hand, another version), what is not as it was written counts for nothing, and is told of.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SCHEMA = 1
FINISHED = ("done", "failed", "skipped")
HEADLINES = {
    "masked": ("pseudo_perplexity",),
    "causal": ("bits_per_byte", "regret"),
}  # one of them is what a finished run is for

Kinds = tuple[type, ...]
Shape = Mapping[str, Kinds]
NONE = type(None)
NUMBER, TEXT, TREE, LIST = (int, float), (str,), (dict,), (list,)
CONFIG: Shape = {
    "arch": TREE, "arch.family": (str, NONE), "arch.card": (dict, NONE), "arch.tune": (dict, NONE),
    "arch.tune.learning_rate": (*NUMBER, dict, NONE), "arch.tune.trials": (int, NONE),
    "names.arch": TEXT, "names.data": TEXT, "names.size": TEXT, "seed": (int,), "data.tokenizer": TEXT,
    "data.synthetic": (dict, NONE), "size.parameters": (int,), "size.context": (int,), "size.state_bytes": (int, NONE),
    "size.match": (str, NONE), "size.count": (str, NONE), "objective.kind": TEXT, "train.steps": (int,), "train.batch": (int,),
    "train.learning_rate": (*NUMBER, NONE), "train.match": (str, NONE), "train.budget": (*NUMBER, NONE),
    "train.precision": (str, NONE), "optimizer": (dict, NONE), "optimizer.kind": (str, NONE), "tune": (dict, NONE),
    "tune.trials": (int, NONE), "evaluate": (dict, NONE), "evaluate.prompt": (str, NONE), "control.arch": (str, NONE),
    "control.seeds": (list, NONE),
}  # fmt: skip
PROVENANCE: Shape = {
    "attempt": (int, NONE), "variant": (str, NONE), "subject": (str, NONE), "rerun": (str, NONE), "command": (str, NONE),
    "starts": (list, NONE), "git": (dict, NONE), "git.commit": (str, NONE), "data": (dict, NONE), "digests": (dict, NONE),
    **{f"digests.{name}": (str, NONE) for name in ("data", "order", "text", "source")},
}  # fmt: skip
RESULT: Shape = {
    "schema": (int,), "status": TEXT, "reason": (str, NONE), "facts": (dict, NONE), "metrics": LIST,
    **{f"facts.{name}": (str, NONE) for name in ("objective", "protocol", "part", "precision", "kernels", "data_digest")},
}  # fmt: skip
METRIC: Shape = {
    "name": TEXT, "values": LIST, "unit": (str, NONE), "better": (str, NONE), "note": (str, NONE), "at": (dict, NONE),
    "rounds": (list, NONE),
}  # fmt: skip
SUBJECT: Shape = {
    "machine": TEXT, "subject": TEXT, "arch": TEXT, "twin": (bool, NONE), "environment": (dict, NONE), "options": (dict, NONE),
    "facts": (dict, NONE), "described": (dict, NONE), "protocol": (dict, NONE),
    "surroundings": (dict, NONE), "surroundings.before": (dict, NONE),
    "surroundings.after": (dict, NONE), "surroundings.process_starts": (list, NONE), "surroundings.stopped": (bool, NONE),
}  # fmt: skip
DOCTOR: Shape = {"findings": LIST, "sentences": (list, NONE)}
REFERENCE: Shape = {
    "data_digest": TEXT,
    "part": TEXT,
    "context": (int,),
    "reason": (str, NONE),
    "lines": LIST,
}
LINE: Shape = {"name": TEXT, "note": TEXT, "context": TEXT, "metrics": LIST}
SEARCH: Shape = {
    "arch": TEXT, "metric": TEXT, "steps": (int,), "batch": (int,), "context": (int,), "space": TREE, "trials": LIST,
}  # fmt: skip
TRIAL: Shape = {"score": (*NUMBER, NONE), "values.learning_rate": NUMBER}


def first_mismatch(tree: Any, shape: Shape) -> str:
    """The first thing in a tree that is not of the kinds that its shape says; nothing where all is. What is None is missing."""
    if not isinstance(tree, dict):
        return (
            "it can not be read"
            if tree is None
            else f"it is {shorten(tree)}, where keys were written"
        )
    for path, kinds in shape.items():
        value: Any = tree
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None if value is None else ...
        if type(value) not in kinds:
            return f"{path} is {'missing' if value is None else 'not there' if value is ... else shorten(value)}"
    return ""


def all_of_types(values: Iterable[Any], kinds: Kinds) -> bool:
    return {*map(type, values)} <= {*kinds}


def shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def result_error(result: Any) -> str:
    """What is wrong with a result, of a run or of a measurement; nothing where it is sound."""
    if wrong := first_mismatch(result, RESULT):
        return wrong
    if result["schema"] != SCHEMA:
        return f"schema is {result['schema']}, and {SCHEMA} is what is known here"
    if result["status"] not in FINISHED:
        return f"status is {shorten(result['status'])}, which is none of {', '.join(FINISHED)}"
    return metrics_error(result["metrics"])


def metrics_error(metrics: Sequence[Any]) -> str:
    """What is wrong with the first metric that is not sound; nothing where all are."""
    for metric in metrics:
        if wrong := first_mismatch(metric, METRIC):
            return f"a metric: {wrong}"
        at, rounds = metric.get("at") or {}, metric.get("rounds") or ()
        if not (
            all_of_types(metric["values"], NUMBER)
            and all_of_types(at.values(), NUMBER)
            and all_of_types(rounds, (int,))
        ):
            return f"{shorten(metric['name'])} holds something else than numbers"
    return ""


def headline_error(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Why a finished run lacks the number that it is for; nothing where it has it. NaN is no number, nor is infinity."""
    kind = (result.get("facts") or {}).get("objective") or config.get("objective", {}).get("kind")
    names = HEADLINES.get(kind, tuple(name for of in HEADLINES.values() for name in of))
    found = {one["name"]: one["values"] for one in result["metrics"] if one["name"] in names}
    if not any(found.values()):
        return f"result.json: it is done, and has no {' or '.join(names)}"
    for name, values in found.items():
        if not all(map(math.isfinite, values)):
            return f"result.json: {name} is {', '.join(f'{value}' for value in values)}, which is no finite number"
    return ""


def data_digest_error(provenance: Mapping[str, Any]) -> str:
    """Why a finished run can stand beside no other; nothing where it says what it was trained and scored on."""
    known = (provenance.get("digests") or {}).get("data")
    return "" if known else "provenance.json: it does not say on which text (digests.data)"


def calibration_error(content: Any) -> str:
    return first_mismatch(content, DOCTOR) or next(
        (wrong for one in content["findings"] if (wrong := first_mismatch(one, {}))), ""
    )


def baselines_error(content: Any) -> str:
    """What is wrong with the reference lines of a text."""
    if wrong := first_mismatch(content, REFERENCE):
        return wrong
    for line in content["lines"]:
        if wrong := first_mismatch(line, LINE) or metrics_error(line["metrics"]):
            return f"a line: {wrong}"
        if not all(metric["values"] for metric in line["metrics"]):
            return f"a line: {shorten(line['name'])} has no value"
    return ""


def search_error(content: Any) -> str:
    """What is wrong with the record of a search for a learning rate."""
    return first_mismatch(content, SEARCH) or next(
        (f"a trial: {wrong}" for one in content["trials"] if (wrong := first_mismatch(one, TRIAL))),
        "",
    )
