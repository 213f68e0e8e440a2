"""Read a finished run as experiment trackers take it: parameters, a curve, final numbers."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from bench.config import UserError
from bench.execution.model_card import model_card
from bench.records import read_json, run_status
from bench.records.loading import read_config
from bench.records.store import read_curve, require_unchanged
from bench.system.files import check_writable
from bench.training import read_run

OMITTED = ("card", "names")  # of the configuration: texts, and names that stand in the labels


class TrackedRun(NamedTuple):
    """What a tracker keeps of a run."""

    name: str  # of its folder
    labels: dict[str, str]  # architecture, data, size
    parameters: dict[str, Any]  # dotted key of the configuration -> value
    curve: list[dict[str, float]]  # rows with `step`
    scores: dict[str, float]  # final metrics of one value
    card: str  # its model card


def read_tracked(folder: Path, into: Path, package: str, licence: str) -> TrackedRun:
    """Return a finished run. Raise UserError without the package, or where it is not done."""
    if find_spec(package) is None:
        raise UserError(
            f"to={package} needs the package {package}: pip install "
            f"'architecture-bench[{package}]'",
            "missing-package",
        )
    if run_status(folder) != "done":
        raise UserError(f"{folder} is not a finished run: nothing to export", "no-records")
    check_writable(into)
    require_unchanged(folder, "curve.jsonl")
    config, result = read_config(folder / "config.yaml"), read_json(folder / "result.json")
    scores = {
        one["name"]: float(one["values"][0])
        for one in result["metrics"]
        if len(one["values"]) == 1 and not one.get("at")
    }
    labels = {key: str(value) for key, value in config["names"].items()}
    card = model_card(folder, read_run(folder), "", {"license": licence})
    parameters = dict(_flat(config))
    return TrackedRun(folder.resolve().name, labels, parameters, read_curve(folder), scores, card)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a configuration under its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from () if key in OMITTED else _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
