"""From the samples of a sitting to metrics: every sample with its round, or the reason why there is none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.metric import Metric

RATES = {"train": "train_tokens_per", "prefill": "prefill_tokens_per", "decode": "decode_tokens_per"}
SIZES: Sequence[tuple[str, str, Literal["lower", "neither"]]] = (  # fact, unit, which way is better
    ("state_bytes", "bytes", "lower"),
    ("flops_per_token", "FLOPs/token", "neither"),
    ("parameters", "parameters", "neither"),
    ("parameters_without_embedding", "parameters", "neither"),
    ("parameters_in_products", "parameters", "neither"),
)
NOTES = {
    "train": "whole steps: forward, backward, clipping, optimizer; the tokens are at hand",
    "prefill": "batch 1, prompts of the context's length, each into a fresh state",
    "decode": "batch 1, the likeliest token each time, around the middle of the context",
    "flops_per_token": "by formula: forward, causal mean over the context; training takes three times as many",
    "state_bytes": "of one sequence of the context's length",
}
MEMORY = {
    "total": "peak of live tensor storages in one training step; the same to the byte each time",
    "allocator_peak": "the same peak as the allocator sees it: with the buffers that operators take inside themselves",
    "reserved": "peak reserved by the allocator in one training step",
}
ON_CUDA = "peak allocated in one training step"


@dataclass
class Samples:
    """What one architecture gave in a sitting."""

    facts: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, list[tuple[int, Mapping[str, float]]]] = field(default_factory=dict)  # name -> (round, window)
    refused: dict[str, str] = field(default_factory=dict)  # name -> why there is no (further) sample
    memory: dict[str, int] = field(default_factory=dict)


def metrics(samples: Samples) -> list[Metric]:
    """Everything that was measured of one architecture."""
    return [*_rates(samples), *_further(samples), *_memory(samples), *_facts(samples)]


def _rates(samples: Samples) -> Iterator[Metric]:
    for name, stem in RATES.items():
        taken, note = samples.windows.get(name, []), samples.refused.get(name, NOTES[name])
        rounds = tuple(round_ for round_, _ in taken)
        clocks = ("wall", "cpu") if samples.facts.get("device") == "cpu" else ("wall",)
        for clock in clocks:
            values = tuple(window["tokens"] / max(1e-9, window[clock]) for _, window in taken)
            label = "second" if clock == "wall" else "cpu_second"
            unit = "tokens/s" if clock == "wall" else "tokens/CPU s"
            yield Metric(f"{stem}_{label}", unit, "higher", values, note, rounds=rounds)


def _further(samples: Samples) -> Iterator[Metric]:
    for name in dict.fromkeys([*samples.windows, *samples.refused]):
        if name.startswith("further@"):
            taken, length = samples.windows.get(name, []), float(name.removeprefix("further@"))
            note = samples.refused.get(name, "median over neighbouring positions, batch 1")
            values, rounds = tuple(window["wall"] for _, window in taken), tuple(round_ for round_, _ in taken)
            yield Metric("decode_seconds_per_token", "s/token", "lower", values, note, {"length": length}, rounds)


def _memory(samples: Samples) -> Iterator[Metric]:
    refused = samples.refused.get("memory", "")
    if refused:
        yield Metric("peak_train_memory_bytes", "bytes", "lower", (), refused)
    for kind, size in samples.memory.items():
        name = "peak_train_memory_bytes" if kind == "total" else f"memory_{kind}_bytes"
        note = ON_CUDA if kind == "total" and "reserved" in samples.memory else MEMORY.get(kind, "of that peak")
        yield Metric(name, "bytes", "lower", (float(size),), note)


def _facts(samples: Samples) -> Iterator[Metric]:
    for name, unit, better in SIZES:
        value = samples.facts[name]
        if isinstance(value, str):  # a reason
            yield Metric(name, unit, better, (), value)
        else:
            yield Metric(name, unit, better, (float(value),), NOTES.get(name, ""))
