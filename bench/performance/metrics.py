"""Turn the samples of a session into metrics: all samples with their rounds, or the reason."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.records import Metric, metric

WindowDict = Mapping[str, float]
FACT_METRICS = (
    "flops_per_token unchecked_flops_per_token parameters parameters_active "
    "parameters_without_embedding parameters_in_products first_step_seconds"
).split()


@dataclass
class Samples:
    """Hold all measurements of an entry.

    A kind names what a window times, as "train", "train@length=256", "decode@batch=8".
    """

    facts: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)  # kind: (round, window)
    refused: dict[str, str] = field(default_factory=dict)  # kind: why it has no further samples
    at_length: dict[int, dict[str, Any]] = field(default_factory=dict)  # length: facts
    memory: dict[str, float | str] = field(default_factory=dict)  # metric: number or reason
    energy: dict[str, Any] = field(default_factory=dict)


def parse_kind(kind: str) -> tuple[str, dict[str, float]]:
    """Split a kind: "train@length=256" -> ("train", {"length": 256})."""
    name, _, at = kind.partition("@")
    axis, _, value = at.partition("=")
    return name, {axis: float(value)} if at else {}


def session_metrics(samples: Samples) -> list[Metric]:
    """Return all metrics of an entry, sorted by name and axis."""
    metrics = [
        *_windows(samples), *_phases(samples), *_energy(samples), *_memory(samples),
        *_facts(samples),
    ]  # fmt: skip
    return sorted(metrics, key=lambda metric: (metric.name, *metric.at.values()))


def _rate(clock: str) -> Callable[[WindowDict], float]:
    return lambda window: window["tokens"] / max(1e-9, window[clock])


def _pass_seconds(window: WindowDict) -> float:
    return window["wall"] / window["passes"]


def _window_metrics(
    name: str, cpu_rates: bool
) -> Iterator[tuple[str, Callable[[WindowDict], float]]]:
    """Yield the metrics that a window becomes, each with its function of the window."""
    if name in ("train", "prefill", "decode", "decode_compiled"):
        yield f"{name}_tokens_per_second", _rate("wall")
        if cpu_rates:
            yield f"{name}_tokens_per_cpu_second", _rate("cpu")
    if name == "prefill":
        yield "first_token_seconds", _pass_seconds
    if name == "next_token":
        yield "decode_seconds_per_token", _pass_seconds
    amounts = {"product": "product_flops_per_second", "copy": "copy_bytes_per_second"}
    if name in amounts:
        yield amounts[name], _rate("wall")


def _windows(samples: Samples) -> Iterator[Metric]:
    on_cpu = samples.facts.get("device") == "cpu"
    for kind in dict.fromkeys([*samples.windows, *samples.refused]):
        name, at = parse_kind(kind)
        windows, reason = samples.windows.get(kind, []), samples.refused.get(kind, "")
        rounds = [number for number, _ in windows]
        for key, value in _window_metrics(name, on_cpu and not at):
            yield metric(key, [value(window) for _, window in windows], reason, at, rounds)


def _phases(samples: Samples) -> Iterator[Metric]:
    windows = samples.windows.get("phases", [])
    rounds = [number for number, _ in windows]
    for phase in windows[0][1] if windows else ():
        seconds = [window[phase] for _, window in windows]
        yield metric(f"{phase}_seconds", seconds, rounds=rounds)
    if "busy_share" in samples.windows:
        yield metric("busy_share", [share for _, share in samples.windows["busy_share"]])


def _energy(samples: Samples) -> Iterator[Metric]:
    name, energy = "train_joules_per_token", samples.energy
    if energy:
        yield metric(name, energy["joules"] / energy["tokens"], energy["method"])
    elif "energy" in samples.refused:
        yield metric(name, note=f"not available: {samples.refused['energy']}")


def _memory(samples: Samples) -> Iterator[Metric]:
    reason = samples.refused.get("memory", "it was not measured")
    for name, value in (samples.memory or {"peak_train_memory_bytes": reason}).items():
        yield metric(name, note=value) if isinstance(value, str) else metric(name, value)


def _facts(samples: Samples) -> Iterator[Metric]:
    for name in FACT_METRICS:
        yield metric(name, samples.facts[name])
    for length, facts in samples.at_length.items():
        at = {"length": float(length)}
        if "flops_per_token" in facts:
            yield metric("flops_per_token", facts["flops_per_token"], at=at)
        if isinstance(facts.get("state_bytes"), int):
            yield metric("state_bytes", facts["state_bytes"], at=at)
