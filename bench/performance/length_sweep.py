"""Curves over context length: models built afresh for each, and what would take too long left out with its reason."""

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench.performance.entry import Entry
from bench.performance.rounds import Progress, run_rounds

FORECAST_FROM = {
    "train": "train",
    "prefill": "prefill",
    "further": "prefill",
}  # what is timed, and what its time is forecast by


def sweep_lengths(table: Sequence[Entry], say: Progress) -> None:
    """Training, reading and writing at each of `measure.lengths`, in turns, until `measure.cap_seconds` is over."""
    options, began, before = table[0].options, time.monotonic(), list[int]()
    for length in sorted(set(options.lengths)):
        kinds = [f"{name}@length={length}" for name in FORECAST_FROM]
        if time.monotonic() - began > options.cap_seconds:
            for seat in table:
                seat.samples.refused |= dict.fromkeys(
                    kinds, f"left out: measure.cap_seconds={options.cap_seconds:g} was over"
                )
            continue
        say(f"measuring: {length:,} tokens of context")
        for seat in table:
            seat.samples.refused |= skip_reasons(seat, before, length)
        run_rounds(table, kinds, options.curve_rounds)
        for seat in table:
            if any(kind in seat.samples.windows for kind in kinds) and seat.worker is not None:
                seat.samples.at_length[length] = (
                    seat.ask("facts", f"facts@length={length}", at={"length": length}) or {}
                )
        before.append(length)


def skip_reasons(seat: Entry, before: Sequence[int], length: int) -> dict[str, str]:
    """The kinds of windows at a length that are not worth trying, with the reason: one pass over it would take too long."""
    found = {}
    for name, like in FORECAST_FROM.items():
        known = {
            shorter: median_pass_seconds(seat, f"{like}@length={shorter}") for shorter in before
        }
        timed = {shorter: seconds for shorter, seconds in known.items() if seconds is not None}
        reason = seat.samples.refused.get(f"{name}@length={before[-1]}", "") if before else ""
        if reason and timed:  # it went well at shorter ones
            found[f"{name}@length={length}"] = (
                reason
                if reason.startswith("left out")
                else f"left out: at {before[-1]:,}: {reason}"
            )
        elif (
            len(timed) > 1
            and (seconds := extrapolate_seconds(timed, length)) > seat.options.point_seconds
        ):
            limit = f"more than measure.point_seconds={seat.options.point_seconds:g}"
            found[f"{name}@length={length}"] = (
                f"left out: one pass would take about {seconds:.0f} s, {limit}"
            )
    return found


def median_pass_seconds(seat: Entry, kind: str) -> float | None:
    """Seconds of the work once."""
    taken: list[tuple[int, Any]] = seat.samples.windows.get(kind, [])
    return (
        statistics.median(window["wall"] / window["passes"] for _, window in taken)
        if taken
        else None
    )


def extrapolate_seconds(timed: dict[int, float], length: int) -> float:
    """Seconds at a length: the last two go on as a power of length."""
    (shorter, less), (longer, more) = sorted(timed.items())[-2:]
    return more * (length / longer) ** (math.log(more / less) / math.log(longer / shorter))
