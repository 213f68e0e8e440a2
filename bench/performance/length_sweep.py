"""Measure curves over context length, skipping lengths that would take too long."""

import logging
import math
import statistics
import time
from collections.abc import Sequence

from bench.performance.entry import Entry
from bench.performance.rounds import run_rounds

logger = logging.getLogger(__name__)

# the kind whose time per pass predicts each kind's
FORECAST_FROM = {"train": "train", "prefill": "prefill", "next_token": "prefill"}


def sweep_lengths(entries: Sequence[Entry]) -> None:
    """Measure at each of `measure.lengths` until `measure.cap_seconds` have passed."""
    options, started, shorter = entries[0].options, time.monotonic(), list[int]()
    for length in sorted(set(options.lengths)):
        kinds = [f"{name}@length={length}" for name in FORECAST_FROM]
        if time.monotonic() - started > options.cap_seconds:
            reason = f"left out: measure.cap_seconds={options.cap_seconds:g} was over"
            for entry in entries:
                entry.samples.refused |= dict.fromkeys(kinds, reason)
            continue
        logger.info("measuring: %s tokens of context", f"{length:,}")
        for entry in entries:
            entry.samples.refused |= skip_reasons(entry, shorter, length)
        run_rounds(entries, kinds, options.curve_rounds)
        for entry in entries:
            if entry.worker is not None and any(k in entry.samples.windows for k in kinds):
                facts = entry.ask("facts", f"facts@length={length}", at={"length": length})
                entry.samples.at_length[length] = facts or {}
        shorter.append(length)


def skip_reasons(entry: Entry, shorter: Sequence[int], length: int) -> dict[str, str]:
    """Return the kinds of windows to skip at a length, each with the reason."""
    reasons = {}
    for name, source in FORECAST_FROM.items():
        passes = {n: median_pass_seconds(entry, f"{source}@length={n}") for n in shorter}
        timed = {n: seconds for n, seconds in passes.items() if seconds is not None}
        previous = entry.samples.refused.get(f"{name}@length={shorter[-1]}", "") if shorter else ""
        kind, limit = f"{name}@length={length}", entry.options.point_seconds
        if previous and timed:  # it worked at a shorter length
            carried = previous.startswith("left out")
            reasons[kind] = previous if carried else f"left out: at {shorter[-1]:,}: {previous}"
        elif len(timed) > 1 and (seconds := extrapolate_seconds(timed, length)) > limit:
            reasons[kind] = (
                f"left out: one pass would take about {seconds:.0f} s, "
                f"more than measure.point_seconds={limit:g}"
            )
    return reasons


def median_pass_seconds(entry: Entry, kind: str) -> float | None:
    windows = entry.samples.windows.get(kind, [])
    return statistics.median(w["wall"] / w["passes"] for _, w in windows) if windows else None


def extrapolate_seconds(timed: dict[int, float], length: int) -> float:
    """Continue the seconds at the two longest lengths as a power law of length."""
    (shorter, less), (longer, more) = sorted(timed.items())[-2:]
    return more * (length / longer) ** (math.log(more / less) / math.log(longer / shorter))
