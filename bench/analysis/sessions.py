"""What one session measured: medians, curves, and ratios over the rounds that both took part in."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.stats.intervals import (
    Numbers,
    Ratio,
    VarianceTerm,
    aa_bound,
    between_process_variance,
    paired_ratios,
    ratio_within_processes,
)

RATES = {  # by wall clock, which ranks: the same rate by CPU time
    "train_tokens_per_second": "train_tokens_per_cpu_second",
    "prefill_tokens_per_second": "prefill_tokens_per_cpu_second",
    "decode_tokens_per_second": "decode_tokens_per_cpu_second",
}
TRAIN_RATE, PREFILL_RATE, DECODE_RATE = RATES
# at batch 1 DECODE_RATE is that of the faster form of the step, where both were measured
EAGER_RATE, COMPILED_RATE = "decode_eager_tokens_per_second", "decode_compiled_tokens_per_second"
COMPILED_CPU_RATE = "decode_compiled_tokens_per_cpu_second"
FIRST_TOKEN, DECODE_TIME = "first_token_seconds", "decode_seconds_per_token"
DURATIONS = (FIRST_TOKEN, DECODE_TIME)  # less is better
PAIRED_METRICS = (
    *RATES, *RATES.values(), EAGER_RATE, COMPILED_RATE, COMPILED_CPU_RATE, *DURATIONS,
)  # fmt: skip
GUARD_RATES = {FIRST_TOKEN: PREFILL_RATE, DECODE_TIME: DECODE_RATE}  # whose A/A pair counts for it
PEAK_MEMORY = "peak_train_memory_bytes"
TRAINING_MEMORY = "training_memory_bytes"  # the larger of the two
TRAINING_PEAKS = (PEAK_MEMORY, "memory_allocator_peak_bytes")  # live tensors; what operators add
NO_SAMPLES: Numbers = np.empty(0)
NOT_MEASURED = "not measured in this sitting"

Point = tuple[str, str, float]  # metric, axis, place: (TRAIN_RATE, "length", 512.0)


def scalar_point(metric: str) -> Point:
    """Return the one point of a metric that is taken along no axis."""
    return metric, "", 0.0


@dataclass(frozen=True)
class MeasuredSession:
    """One session on one machine: only within it may speeds be divided by one another."""

    name: str
    machine: str
    environment: dict[str, Any]
    reference: str  # the subject that was entered twice; ratios are to it
    medians: pd.DataFrame  # indexed by subject, a column per metric
    points: dict[tuple[str, Point], Ratio]  # (subject, point of an axis): median with interval
    gaps: dict[tuple[str, Point], str]  # (subject, point): why there is no value
    samples: dict[Point, dict[str, Numbers]]  # by subject over the same rounds, NaN where absent
    processes: dict[Point, Numbers]  # which process, one after another, took each of those rounds
    ratios: dict[tuple[str, str], Ratio]  # (subject, metric): to the reference
    aa_ratios: dict[str, Ratio]  # metric: of the A/A pair, which should be 1
    has_duplicate: bool  # whether a subject was entered twice
    arches: dict[str, str]  # subject: name of its architecture
    described: dict[str, dict[str, Any]]  # subject: its architecture's YAML
    options: dict[str, Any]
    facts: dict[str, Any]  # of the reference: device, precision
    calibration: dict[str, Any]  # findings of `bench.doctor` about this machine's measurements
    host_state: dict[str, Any]  # what else the machine was doing, before and after

    @property
    def failed_checks(self) -> list[dict[str, Any]]:
        """Return the findings of the calibration that are outside their tolerance."""
        return [one for one in self.calibration.get("findings", []) if one.get("off")]

    def no_claim_reason(self, metric: str) -> str:
        """Return the code of why nothing may be claimed about a metric; empty where it may."""
        pair = self.noise(metric)
        reasons = {
            "calibration-failed": bool(self.failed_checks),
            "stopped": bool(self.host_state.get("stopped")),
            "no-duplicate": not self.has_duplicate,
            "duplicate-lacks-metric": pair is None,
            "duplicate-without-interval": math.isinf(aa_bound(pair)),
        }
        return next((code for code, applies in reasons.items() if applies), "")

    def allows_claim(self, metric: str) -> bool:
        """Tell whether a ratio of a metric may support a claim, where it clears the noise."""
        return not self.no_claim_reason(metric)

    def noise(self, metric: str) -> Ratio | None:
        """Return the ratio of the A/A pair, which should be 1, that counts for a metric."""
        return self.aa_ratios.get(GUARD_RATES.get(metric, metric))

    def clear_side(self, metric: str, ratio: Ratio | None) -> int:
        """Return 1 where a ratio is above the A/A pair's own bound, −1 where below, else 0."""
        return ratio.side_beyond(aa_bound(self.noise(metric))) if ratio else 0

    def clearly_behind(self, point: Point, first: str, others: Sequence[str]) -> dict[str, Ratio]:
        """Return the others that `first` has a clearly higher rate than, with the ratio."""
        ratios = self.paired_ratios([(point, first, other) for other in others])
        pairs = zip(others, ratios, strict=True)
        return {one: r for one, r in pairs if r and self.clear_side(point[0], r) == 1}

    def value(self, subject: str, metric: str) -> float:
        """Return the median of a metric; NaN where there is none."""
        return self._values.get(metric, {}).get(subject, float("nan"))

    @cached_property
    def _values(self) -> dict[str, dict[str, float]]:
        table: dict[Any, dict[Any, float]] = self.medians.astype(float).to_dict()
        return table

    def training_memory(self, subject: str) -> float:
        """Return the larger of the peaks of a training step; NaN where none was measured."""
        peaks = [self.value(subject, metric) for metric in TRAINING_PEAKS]
        return max((peak for peak in peaks if peak == peak), default=float("nan"))

    def at(self, subject: str, point: Point) -> float:
        """Return the median at a point; NaN where there is none."""
        if not point[1]:
            return self.value(subject, point[0])
        median = self.points.get((subject, point))
        return median.value if median else float("nan")

    def eager_point(self, metric: str) -> Point:
        """Return the scalar point whose rate is of the same form as those at larger batches."""
        eager = metric == DECODE_RATE and EAGER_RATE in self.medians
        return scalar_point(EAGER_RATE if eager else metric)

    def forms(self, subjects: Iterable[str]) -> dict[str, list[str]]:
        """Return the subjects whose decoding rate is that of the compiled, and the eager step.

        Nothing where no compiled step was measured.
        """
        if EAGER_RATE not in self.medians:
            return {}
        rates: dict[str, list[str]] = {"compiled": [], "eager": []}
        for one in subjects:
            is_eager = self.value(one, DECODE_RATE) == self.value(one, EAGER_RATE)
            rates["eager" if is_eager else "compiled"].append(one)
        return rates

    def missing_reason(self, subject: str, metric: str) -> str:
        """Return why a metric has no value."""
        return self.gaps.get((subject, scalar_point(metric))) or NOT_MEASURED

    @cached_property
    def _places(self) -> dict[tuple[str, str], set[float]]:
        places: dict[tuple[str, str], set[float]] = {}
        for _, (metric, axis, place) in (*self.points, *self.gaps):
            places.setdefault((metric, axis), set()).add(place)
        return places

    def places(self, metric: str, axis: str) -> list[float]:
        """Return where along an axis a metric was to be measured, in order."""
        return sorted(self._places.get((metric, axis), ()))

    def rounds(self, point: Point) -> int:
        """Return how many rounds were taken at a point."""
        return max((len(own) for own in self.samples.get(point, {}).values()), default=0)

    @property
    def process_count(self) -> int:
        """Return how many processes per architecture, one after another, took rounds of rates."""
        counts = [len(np.unique(own)) for point, own in self.processes.items() if not point[1]]
        return max(counts, default=0)

    def paired_ratios(self, pairs: Sequence[tuple[Point, str, str]]) -> list[Ratio | None]:
        """Return first / second over their shared rounds for each (point, first, second).

        Never a quotient of two other ratios. Along an axis there are a few rounds of one process of
        each, elsewhere several processes.
        """
        quotients = [self.round_ratios(*pair) for pair in pairs]
        scalar = [n for n, (point, _, _) in enumerate(pairs) if not point[1]]
        processes = [self.processes.get(pairs[n][0], NO_SAMPLES) for n in scalar]
        of_scalars = iter(paired_ratios([quotients[n] for n in scalar], processes))
        return [
            ratio_within_processes(
                own, self._process_variances[GUARD_RATES.get(point[0], point[0])]
            )
            if point[1]
            else next(of_scalars)
            for (point, _, _), own in zip(pairs, quotients, strict=True)
        ]

    @cached_property
    def _process_variances(self) -> dict[str, VarianceTerm]:
        """By rate: the variance that a ratio keeps for as long as its two processes live."""
        variances = {}
        for point in map(scalar_point, RATES):
            others = [name for name in self.samples.get(point, {}) if name != self.reference]
            quotients = [self.round_ratios(point, name, self.reference) for name in others]
            processes = [self.processes.get(point, NO_SAMPLES)] * len(quotients)
            variances[point[0]] = between_process_variance(quotients, processes)
        return variances

    def round_ratios(self, point: Point, first: str, second: str) -> Numbers:
        """Return first / second in each round; NaN where one of them is absent."""
        samples = self.samples.get(point, {})
        if first in samples and second in samples:
            return samples[first] / samples[second]
        return np.full(len(self.processes.get(point, NO_SAMPLES)), np.nan)
