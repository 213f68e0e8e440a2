"""Why one architecture is slower than another, in numbers: quotients within one sitting, NaN where a part is missing."""

from math import isfinite, nan
from typing import NamedTuple

from bench.analysis.formatting import MINUS
from bench.analysis.sessions import MeasuredSession
from bench.records.metrics import TRAINING_FLOPS_FACTOR

LAUNCH_BOUND_GAIN = (
    1.15  # a larger batch that is so much faster per token shows that the processor waited for work
)
MIN_BATCH_FACTOR = 4  # times the batch: smaller steps say too little
STEP_PARTS = ("forward_seconds", "backward_seconds", "optimizer_seconds")


class BatchGain(NamedTuple):
    """Whether a rate was held up by the launching of work. `gain`: of the rate at the larger batch, 0.42 for 42 % more."""

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


def batch_gain(sitting: MeasuredSession, subject: str, metric: str) -> BatchGain | None:
    """The mark of a rate; None where no larger batch was measured."""
    if (
        metric == "prefill_tokens_per_second"
    ):  # reading a prompt is timed as the time to its first token
        once, unit = sitting.value(subject, "first_token_seconds"), "first_token_seconds"
    else:
        once, unit = sitting.value(subject, metric), metric
    least = (
        0.0 if metric == "train_tokens_per_second" else MIN_BATCH_FACTOR
    )  # of training: the batch is given as sequences of a step
    for batch in (place for place in sitting.places(unit, "batch") if place >= least):
        there = sitting.at(subject, (unit, "batch", batch))
        gain = (
            batch * once / there if unit == "first_token_seconds" else there / once if once else nan
        )
        if isfinite(gain):
            return BatchGain(gain - 1, batch)
    return None


def train_flops_per_token(sitting: MeasuredSession, subject: str) -> float:
    """FLOPs of training a token, by formula."""
    return TRAINING_FLOPS_FACTOR * sitting.value(subject, "flops_per_token")


def utilisation(sitting: MeasuredSession, subject: str) -> float:
    """The share of the measured peak that training reaches: of this subject's own process, precision and threads."""
    rate, peak = (
        sitting.value(subject, "train_tokens_per_second"),
        sitting.value(subject, "product_flops_per_second"),
    )
    return train_flops_per_token(sitting, subject) * rate / peak if peak > 0 else nan


def unchecked_share(sitting: MeasuredSession, subject: str) -> float:
    """The share of the FLOPs that no counter sees: they are by formula alone."""
    flops = sitting.value(subject, "flops_per_token")
    return sitting.value(subject, "unchecked_flops_per_token") / flops if flops > 0 else nan


def traffic_share(sitting: MeasuredSession, subject: str) -> float:
    """Bytes that operators read and write a second, as a share of what a large copy moves; above 1 where caches serve them."""
    rate, copy = (
        sitting.value(subject, "train_tokens_per_second"),
        sitting.value(subject, "copy_bytes_per_second"),
    )
    return sitting.value(subject, "traffic_bytes_per_token") * rate / copy if copy > 0 else nan


def step_shares(sitting: MeasuredSession, subject: str) -> tuple[float, ...]:
    """Of a training step: forward, backward, optimizer."""
    seconds = [sitting.value(subject, part) for part in STEP_PARTS]
    total = sum(seconds)
    return tuple(one / total if total > 0 else nan for one in seconds)
