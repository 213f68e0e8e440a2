"""From the samples of a sitting to metrics: every sample with its round, or the reason why there is none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.records.metrics import Metric

WindowDict = Mapping[str, float]
Better = Literal["higher", "lower", "neither"]
FACT_METRICS: Sequence[tuple[str, str, Better]] = (  # fact, unit, which way is better
    ("flops_per_token", "FLOPs/token", "neither"),
    ("unchecked_flops_per_token", "FLOPs/token", "neither"),
    ("parameters", "parameters", "neither"),
    ("parameters_active", "parameters", "neither"),
    ("parameters_without_embedding", "parameters", "neither"),
    ("parameters_in_products", "parameters", "neither"),
    ("first_step_seconds", "s", "lower"),
)
METRIC_NOTES = {
    "train": "whole steps: forward, backward, clipping, optimizer; the tokens are at hand",
    "prefill": "prompts of the context's length, each into a fresh state, one sequence at a time unless a batch is named",
    "decode": "the likeliest token each time, around the middle of the context, one sequence at a time unless a batch is named",
    "further": "median over neighbouring positions, one sequence at a time",
    "product": "a large matrix product in the same process, precision and threads",
    "copy": "a large copy in the same process: bytes read and written",
    "flops_per_token": "by formula: forward, causal mean over the context; training takes three times as many",
    "unchecked_flops_per_token": "of these, what no operation counter sees: by formula alone",
    "first_step_seconds": "of a fresh process, with whatever is compiled or planned in it; in no rate",
    "parts": "within one training step; zeroing gradients counts to the optimizer, as clipping does",
    "busy_share": "of the time of a training step, in which the device computes",
}
MEMORY_METRICS: Mapping[str, tuple[str, Better, str]] = {  # unit, which way is better, note
    "peak_train_memory_bytes": (
        "bytes",
        "lower",
        "peak of live tensors in one training step; on a CPU the same to the byte each time",
    ),
    "memory_allocator_peak_bytes": (
        "bytes",
        "lower",
        "the same as the allocator sees it: with buffers inside operators",
    ),
    "memory_reserved_bytes": (
        "bytes",
        "lower",
        "peak reserved by the allocator in one training step",
    ),
    "memory_process_rise_bytes": (
        "bytes",
        "lower",
        "of the process, over its state before the model was built; never ranked",
    ),
    "activation_bytes_per_token": ("bytes/token", "lower", "left by the forward for the backward"),
    "traffic_bytes_per_token": (
        "bytes/token",
        "neither",
        "read and written by the operators of a training step",
    ),
    "operators_per_step": ("operators", "neither", "that move bytes, in a training step"),
    "state_bytes": ("bytes", "lower", "of one sequence of the context's length"),
    "state_bytes_per_token": (
        "bytes/token",
        "lower",
        "that the state grows by with each token of context",
    ),
    "largest_batch": (
        "sequences",
        "higher",
        "whose training step stays within measure.memory_limit",
    ),
}


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
    return sorted(found, key=lambda metric: (metric.name, *metric.at.values()))


# --- from windows -----------------------------------------------------------------------------------------------------


def _rate(clock: str) -> Callable[[WindowDict], float]:
    return lambda window: window["tokens"] / max(1e-9, window[clock])


def _pass(window: WindowDict) -> float:
    return window["wall"] / window["passes"]


def _forms(
    name: str, at: Mapping[str, float], on_cpu: bool
) -> Iterator[tuple[str, str, Better, Callable[[WindowDict], float]]]:
    """The metrics that a kind of window becomes: name, unit, which way is better, and the number of one window."""
    if name in ("train", "prefill", "decode"):
        yield f"{name}_tokens_per_second", "tokens/s", "higher", _rate("wall")
        if on_cpu and not at:
            yield f"{name}_tokens_per_cpu_second", "tokens/CPU s", "higher", _rate("cpu")
    if name == "prefill":
        yield "first_token_seconds", "s", "lower", _pass
    if name == "further":
        yield "decode_seconds_per_token", "s/token", "lower", _pass
    if name == "product":
        yield "product_flops_per_second", "FLOP/s", "neither", _rate("wall")
    if name == "copy":
        yield "copy_bytes_per_second", "bytes/s", "neither", _rate("wall")


def _windows(samples: Samples) -> Iterator[Metric]:
    on_cpu = samples.facts.get("device") == "cpu"
    for kind in dict.fromkeys([*samples.windows, *samples.refused]):
        name, at = parse_kind(kind)
        taken, note = (
            samples.windows.get(kind, []),
            samples.refused.get(kind, METRIC_NOTES.get(name, "")),
        )
        rounds = tuple(round_ for round_, _ in taken)
        for metric, unit, better, number in _forms(name, at, on_cpu):
            yield Metric(
                metric, unit, better, tuple(number(window) for _, window in taken), note, at, rounds
            )


def _parts(samples: Samples) -> Iterator[Metric]:
    taken = samples.windows.get("phases", [])
    rounds = tuple(round_ for round_, _ in taken)
    for part in taken[0][1] if taken else ():
        yield Metric(
            f"{part}_seconds",
            "s/step",
            "lower",
            tuple(laps[part] for _, laps in taken),
            METRIC_NOTES["parts"],
            {},
            rounds,
        )
    busy = samples.windows.get("busy_share", [])
    if busy:
        yield Metric(
            "busy_share",
            "share",
            "neither",
            tuple(float(share) for _, share in busy),
            METRIC_NOTES["busy_share"],
        )


# --- from what needs no clock -----------------------------------------------------------------------------------------


def _energy(samples: Samples) -> Iterator[Metric]:
    said, name, unit = samples.refused.get("energy", ""), "train_joules_per_token", "J/token"
    if samples.energy:
        yield Metric(
            name,
            unit,
            "lower",
            (samples.energy["joules"] / samples.energy["tokens"],),
            samples.energy["method"],
        )
    elif said:
        yield Metric(name, unit, "lower", (), f"not available: {said}")


def _memory(samples: Samples) -> Iterator[Metric]:
    weighed = samples.memory or {
        "peak_train_memory_bytes": samples.refused.get("memory", "it was not weighed")
    }
    for name, value in weighed.items():
        unit, better, note = MEMORY_METRICS.get(name, ("bytes", "lower", "of that peak"))
        if isinstance(value, str):
            yield Metric(name, unit, better, (), value)
        else:
            yield Metric(name, unit, better, (float(value),), note)


def _facts(samples: Samples) -> Iterator[Metric]:
    for name, unit, better in FACT_METRICS:
        yield Metric(name, unit, better, (float(samples.facts[name]),), METRIC_NOTES.get(name, ""))
    for length, facts in samples.at_length.items():
        at = {"length": float(length)}
        if "flops_per_token" in facts:
            yield Metric(
                "flops_per_token",
                "FLOPs/token",
                "neither",
                (facts["flops_per_token"],),
                METRIC_NOTES["flops_per_token"],
                at,
            )
        if isinstance(facts.get("state_bytes"), int):
            yield Metric(
                "state_bytes",
                "bytes",
                "lower",
                (float(facts["state_bytes"]),),
                "of one sequence of that length",
                at,
            )
