"""Register metrics: each is one entry, shown in runs.csv, its section's table and the docs.

To add a metric, add a line to `metric_table.SPECS`, or call `register` from a package of your own,
and record its values with `metric(name, values)`. Imports no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.records.metric_table import SECTIONS, SPECS, Better, MetricSpec
from bench.records.task_metrics import TASK_SPECS

PRETRAINED = "pretrained"  # the context of the reference line of a checkpoint
TRAINING_FLOPS_FACTOR = 3  # FLOPs of a training step over those of its forward pass


@dataclass(frozen=True)
class Metric:
    """Hold one measured quantity: `values` are samples, never statistics."""

    name: str
    unit: str
    better: Better
    values: tuple[float, ...]
    note: str = ""
    at: Mapping[str, float] = field(default_factory=dict)  # {"length": 256}: a point of a curve
    rounds: tuple[int, ...] = ()  # the round of each sample, where rounds were paired

    def as_json(self) -> dict[str, Any]:
        """Return the form that result.json holds."""
        lists = {"values": list(self.values), "rounds": list(self.rounds), "at": dict(self.at)}
        return asdict(self) | lists


REGISTRY: dict[str, MetricSpec] = {}


def register(
    name: str, unit: str, better: Better, section: str, title: str, help: str
) -> MetricSpec:
    """Add a metric to the registry and return its entry; raise ValueError for a name taken."""
    spec = MetricSpec(name, unit, better, section, title, help)
    if section not in SECTIONS:
        raise ValueError(f"the metric {name} names the section {section}: known {[*SECTIONS]}")
    if REGISTRY.setdefault(name, spec) != spec:
        raise ValueError(f"the metric {name} is registered twice")
    return spec


def metric(
    name: str,
    values: float | Iterable[float] = (),
    note: str = "",
    at: Mapping[str, float] | None = None,
    rounds: Iterable[int] = (),
) -> Metric:
    """Return values of a registered metric: a number, samples, or none and why not as `note`."""
    spec = REGISTRY[name]
    samples = tuple(values) if isinstance(values, Iterable) else (float(values),)
    return Metric(name, spec.unit, spec.better, samples, note, at or {}, tuple(rounds))


def describe(name: str) -> MetricSpec:
    """Return the entry of a metric; for a name that is not registered, one made from the name."""
    return REGISTRY.get(name) or MetricSpec(name, "", "neither", "", name.replace("_", " "), "")


def in_section(section: str) -> list[MetricSpec]:
    """Return the metrics of a section's table, in the order of its columns."""
    return [spec for spec in REGISTRY.values() if spec.section == section]


def metric_rows() -> list[tuple[str, str, str, str, str]]:
    """Return a row per metric for the table of the docs: name, unit, better, section, help."""
    return [
        (spec.name, spec.unit, spec.better, SECTIONS[spec.section], spec.help)
        for section in SECTIONS
        for spec in in_section(section)
    ]


for _spec in (*SPECS, *TASK_SPECS):
    register(*_spec)
