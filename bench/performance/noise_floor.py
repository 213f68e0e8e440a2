"""Measure how far two identical models differ in turns: smaller differences in speed are noise."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bench.cli.compose import compose_sweep
from bench.config import workload_id
from bench.performance.entry import Entry
from bench.performance.session import make_entries, measure_rates
from bench.stats.intervals import Ratio, aa_bound, paired_ratios

SECONDS = 25.0  # of rounds at most
CI_WIDTH = 0.005  # rounds end earlier at this relative half-width of the ratio
LIMIT_SECONDS = 120.0  # a worker that answers later is ended
VOCABULARY = 256  # bytes
CLOCK_NAMES = {"wall": "wall time", "cpu": "processor time"}


def measure_noise_floor(threads: int) -> Iterator[str]:
    """Train two identical tiny models in turns; yield sentences on how far they differ."""
    run = compose_sweep(["size=tiny", f"threads={threads}"]).runs[0]
    limits = replace(run.measure, cap_seconds=SECONDS, limit_seconds=LIMIT_SECONDS)
    options = replace(limits, rounds=10_000, narrow=CI_WIDTH)
    entries, starts = make_entries([run], {workload_id(run): VOCABULARY}, options), list[int]()
    try:
        measure_rates(entries, ["train"], starts)
    finally:
        for entry in entries:
            entry.stop()
    if failed := [entry for entry in entries if entry.status != "done"]:
        yield f"Not known: {failed[0].reason}."
        return
    yield f"Two identical models ({run.names['arch']}, size=tiny) were trained in turns."
    yield from (compare_entries(entries, starts, clock) for clock in CLOCK_NAMES)


def training_ratio(entries: Sequence[Entry], starts: Sequence[int], clock: str) -> Ratio | None:
    """Return the ratio of two entries' seconds per token of training by a clock, paired by round.

    `starts`: the first round of each process.
    """
    first, second = (
        {number: window[clock] / window["tokens"] for number, window in e.samples.windows["train"]}
        for e in entries
    )
    shared = [number for number in first if second.get(number, 0.0) > 0]
    ratios = np.array([first[number] / second[number] for number in shared])
    processes = np.searchsorted(starts, shared, side="right").astype(float)
    return paired_ratios([ratios], [processes])[0]


def compare_entries(entries: Sequence[Entry], starts: Sequence[int], clock: str) -> str:
    """Return a sentence on how far two entries' training steps differ by a clock."""
    ratio = training_ratio(entries, starts, clock)
    name = CLOCK_NAMES[clock].capitalize()
    if ratio is None:
        return f"{name}: no round has both models."
    noise = 100 * (aa_bound(ratio) - 1)
    return (
        f"{name}: ratio {ratio.value:.4f}, 95 % interval {ratio.low:.4f} to {ratio.high:.4f} over "
        f"{ratio.rounds} rounds in {len(starts)} processes each: differences in speed up to "
        f"{noise:.1f} % are noise here today."
    )
