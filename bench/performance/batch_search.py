"""Search for the largest batch whose training step fits into memory."""

import gc
import time
from collections.abc import Callable

import torch

from bench.performance import memory
from bench.performance.memory import TrainingStep
from bench.system.host import total_memory_bytes
from bench.system.memory import is_out_of_memory

MAX_BATCH = 65_536  # sequences: no larger batch is tried
SEARCH_SECONDS = 45.0
MEMORY_SHARE = 0.75  # of the machine's memory that a step may take


def find_largest_batch(
    step_of: Callable[[int], TrainingStep],
    limit: int,
    device: str = "cpu",
    seconds: float = SEARCH_SECONDS,
) -> tuple[int, str]:
    """Return the most sequences whose training step stays within `limit` bytes, and a note.

    `step_of` makes a step on so many sequences. The note is empty where a step on one sequence more
    exceeded the limit, else it says why the search ended. Each tried size is a real step: twice the
    last that fits, but no further than where a line through the last two that fit meets the limit;
    then the middle of the remaining range. So no step takes much more than the limit.
    """
    end = time.monotonic() + seconds
    room = limit if device == "cuda" else usable_bytes(limit)
    step_peak_bytes(step_of, 1)  # creates the optimizer's state
    fitting, high, peak, took = [(0, 0)], MAX_BATCH + 1, None, 0.0  # high exceeds the memory
    while high - (low := fitting[-1][0]) > 1:
        rows = next_batch(fitting, high, room)
        if time.monotonic() + took * rows / max(1, low) > end:
            return low, f"at least {low}: the {seconds:g} seconds for the search were over"
        size, took = timed_peak_bytes(step_of, rows)
        if size is not None and size <= room:
            fitting.append((rows, size))
        else:
            high, peak = rows, size
    return low, end_note(low, high, peak, limit)


def usable_bytes(limit: int) -> int:
    """Return the main memory that a step may take: a share of the machine's, and the limit."""
    return min(limit, int(MEMORY_SHARE * total_memory_bytes()) or limit)


def end_note(low: int, high: int, peak: int | None, limit: int) -> str:
    """Return why `low` sequences may not be the largest batch; `peak`: the bytes of `high`."""
    if high > MAX_BATCH:
        return f"at least {low}: no larger batch was tried"
    if peak is None or peak <= limit:
        return f"at least {low}: {high} sequences exceed the memory of this machine"
    return "" if low else f"not even one sequence: it takes {peak:,} bytes"


def next_batch(fitting: list[tuple[int, int]], high: int, room: int) -> int:
    """Return the batch to try above those that fit, (sequences, bytes) from (0, 0) on."""
    (fewer, smaller), (rows, size) = fitting[-2:] if len(fitting) > 2 else [(0, 0), fitting[-1]]
    if high <= MAX_BATCH:
        return (rows + high) // 2
    limit = MAX_BATCH
    if fewer and size > smaller:
        limit = rows + (room - size) * (rows - fewer) // (size - smaller)
    return min(MAX_BATCH, max(1, 2 * rows), max(rows + 1, limit))


def timed_peak_bytes(step_of: Callable[[int], TrainingStep], rows: int) -> tuple[int | None, float]:
    """Return the peak bytes of one training step, and its seconds."""
    began = time.monotonic()
    return step_peak_bytes(step_of, rows), time.monotonic() - began


def step_peak_bytes(step_of: Callable[[int], TrainingStep], rows: int) -> int | None:
    """Return the peak bytes of one training step; None where the machine runs out of memory."""
    step = None
    try:
        step = step_of(rows)
        if step.device != "cuda":
            return memory.profile_step(step).peak
        torch.cuda.reset_peak_memory_stats()
        step.run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    if step is not None:
        step.optimizer.zero_grad(set_to_none=True)
    del step
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None
