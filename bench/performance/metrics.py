"""From the samples of a sitting to metrics: every sample with its round, or the reason why there is none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.records.metrics import Metric, metric

WindowDict = Mapping[str, float]
FACT_METRICS = (
    "flops_per_token",
    "unchecked_flops_per_token",
    "parameters",
    "parameters_active",
    "parameters_without_embedding",
    "parameters_in_products",
    "first_step_seconds",
)


@dataclass
class Samples:
    """What one architecture gave in a sitting. A kind is as "train", "train@length=256", "decode@batch=8"."""

    facts: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, list[tuple[int, Any]]] = field(
        default_factory=dict
    )  # kind -> (round, window)
    refused: dict[str, str] = field(
        default_factory=dict
    )  # kind -> why there is no (further) sample
    at_length: dict[int, dict[str, Any]] = field(
        default_factory=dict
    )  # facts of the model made for that context
    memory: dict[str, float | str] = field(
        default_factory=dict
    )  # metric -> number, or the reason why there is none
    energy: dict[str, Any] = field(default_factory=dict)


def parse_kind(kind: str) -> tuple[str, dict[str, float]]:
    """What is timed, and where on an axis: "train@length=256" -> ("train", {"length": 256})."""
    name, _, at = kind.partition("@")
    axis, _, value = at.partition("=")
    return name, {axis: float(value)} if at else {}


def session_metrics(samples: Samples) -> list[Metric]:
    """Everything that was measured of one architecture."""
    found = [
        *_windows(samples),
        *_parts(samples),
        *_energy(samples),
        *_memory(samples),
        *_facts(samples),
    ]
    return sorted(found, key=lambda one: (one.name, *one.at.values()))


def _forms(
    name: str, at: Mapping[str, float], on_cpu: bool
) -> Iterator[tuple[str, Callable[[WindowDict], float]]]:
    """Yield the metrics that a kind of window becomes: name, and the number of one window."""
    if name in ("train", "prefill", "decode"):
        yield f"{name}_tokens_per_second", _rate("wall")
        if on_cpu and not at:
            yield f"{name}_tokens_per_cpu_second", _rate("cpu")
    if name == "prefill":
        yield "first_token_seconds", _pass
    if name == "further":
        yield "decode_seconds_per_token", _pass
    if name == "product":
        yield "product_flops_per_second", _rate("wall")
    if name == "copy":
        yield "copy_bytes_per_second", _rate("wall")


def _rate(clock: str) -> Callable[[WindowDict], float]:
    return lambda window: window["tokens"] / max(1e-9, window[clock])


def _pass(window: WindowDict) -> float:
    return window["wall"] / window["passes"]


def _windows(samples: Samples) -> Iterator[Metric]:
    on_cpu = samples.facts.get("device") == "cpu"
    for kind in dict.fromkeys([*samples.windows, *samples.refused]):
        name, at = parse_kind(kind)
        taken, note = samples.windows.get(kind, []), samples.refused.get(kind, "")
        rounds = [number for number, _ in taken]
        for form, value in _forms(name, at, on_cpu):
            yield metric(form, [value(window) for _, window in taken], note, at, rounds)


def _parts(samples: Samples) -> Iterator[Metric]:
    taken = samples.windows.get("phases", [])
    rounds = [number for number, _ in taken]
    for part in taken[0][1] if taken else ():
        yield metric(f"{part}_seconds", [laps[part] for _, laps in taken], rounds=rounds)
    if busy := samples.windows.get("busy_share", []):
        yield metric("busy_share", [float(share) for _, share in busy])


def _energy(samples: Samples) -> Iterator[Metric]:
    if energy := samples.energy:
        yield metric(
            "train_joules_per_token", energy["joules"] / energy["tokens"], energy["method"]
        )
    elif reason := samples.refused.get("energy", ""):
        yield metric("train_joules_per_token", note=f"not available: {reason}")


def _memory(samples: Samples) -> Iterator[Metric]:
    reason = samples.refused.get("memory", "memory was not profiled")
    for name, value in (samples.memory or {"peak_train_memory_bytes": reason}).items():
        yield metric(name, note=value) if isinstance(value, str) else metric(name, value)


def _facts(samples: Samples) -> Iterator[Metric]:
    for name in FACT_METRICS:
        yield metric(name, float(samples.facts[name]))
    for length, facts in samples.at_length.items():
        at = {"length": float(length)}
        if "flops_per_token" in facts:
            yield metric("flops_per_token", facts["flops_per_token"], at=at)
        if isinstance(facts.get("state_bytes"), int):
            yield metric("state_bytes", facts["state_bytes"], at=at)
