"""Explain speed by ratios within one session; NaN where a part is missing."""

from collections.abc import Iterable
from math import isfinite, nan
from typing import NamedTuple

from bench.analysis.formatting import MINUS
from bench.analysis.sessions import FIRST_TOKEN, PREFILL_RATE, TRAIN_RATE, MeasuredSession, Point
from bench.records.metrics import TRAINING_FLOPS_FACTOR

LAUNCH_BOUND_GAIN = 1.15  # a rate that gains this from a larger batch waits for kernel launches
MIN_BATCH_FACTOR = 4  # a smaller increase of the batch is not conclusive
FORM_LIMITED = 0.5  # of the highest FLOP/s of a session: below it the step's form limits a rate
STEP_PARTS = ("forward_seconds", "backward_seconds", "optimizer_seconds")


class BatchGain(NamedTuple):
    """The gain of a rate at a larger batch: 0.42 for 42 % more."""

    gain: float
    batch: float

    @property
    def launch_bound(self) -> bool:
        return 1 + self.gain >= LAUNCH_BOUND_GAIN

    @property
    def text(self) -> str:
        return "launch-bound" if self.launch_bound else "compute-bound"

    @property
    def small(self) -> str:
        return f"{100 * self.gain:+.0f} % at batch {self.batch:g}".replace("-", MINUS)


def _ratio(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor > 0 else nan


def batch_gain(session: MeasuredSession, subject: str, metric: str) -> BatchGain | None:
    """Return the gain of a rate at the smallest larger batch; None where none was measured."""
    # a prefill is timed as the time to its first token
    unit = FIRST_TOKEN if metric == PREFILL_RATE else metric
    single = session.at(subject, session.eager_point(unit))
    # of training, the batch is the sequences of a step
    least = 0 if metric == TRAIN_RATE else MIN_BATCH_FACTOR
    for batch in (place for place in session.places(unit, "batch") if place >= least):
        batched = session.at(subject, (unit, "batch", batch))
        gain = batch * single / batched if unit == FIRST_TOKEN else _ratio(batched, single)
        if isfinite(gain):
            return BatchGain(gain - 1, batch)
    return None


def train_flops_per_token(session: MeasuredSession, subject: str) -> float:
    """Return the FLOPs of training per token, by formula."""
    return TRAINING_FLOPS_FACTOR * session.value(subject, "flops_per_token")


def utilisation(session: MeasuredSession, subject: str) -> float:
    """Return the share of the peak that training reaches.

    The peak was measured in the subject's own process, with its precision and threads.
    """
    rate = session.value(subject, TRAIN_RATE)
    peak = session.value(subject, "product_flops_per_second")
    return _ratio(train_flops_per_token(session, subject) * rate, peak)


def unchecked_share(session: MeasuredSession, subject: str) -> float:
    """Return the share of the FLOPs that are by formula alone, seen by no counter."""
    unchecked = session.value(subject, "unchecked_flops_per_token")
    return _ratio(unchecked, session.value(subject, "flops_per_token"))


def traffic_share(session: MeasuredSession, subject: str) -> float:
    """Return the operators' bytes per second over those of a large copy.

    It is above 1 where caches serve the operators.
    """
    traffic = session.value(subject, "traffic_bytes_per_token")
    rate = session.value(subject, TRAIN_RATE)
    return _ratio(traffic * rate, session.value(subject, "copy_bytes_per_second"))


def step_shares(session: MeasuredSession, subject: str) -> tuple[float, ...]:
    """Return the shares of forward, backward and optimizer in a training step."""
    seconds = [session.value(subject, part) for part in STEP_PARTS]
    total = sum(seconds)
    return tuple(_ratio(one, total) for one in seconds)


def form_limited(session: MeasuredSession, point: Point, subjects: Iterable[str]) -> list[str]:
    """Return those whose step reaches under half of the FLOP/s that another of them reaches.

    The machine can do more arithmetic in the same kind of step, so that their operators and calls
    limit the rate.
    """
    flops = {
        subject: session.value(subject, "flops_per_token") * session.at(subject, point)
        for subject in subjects
    }
    flops = {subject: value for subject, value in flops.items() if isfinite(value)}
    most = max(flops.values(), default=0.0)
    return [subject for subject, value in flops.items() if value < FORM_LIMITED * most]
