"""The memory of this process, as the system sees it."""

import ctypes
import gc
import os
from pathlib import Path

import torch
from torch import nn

STATUS_FILE, RESET_FILE = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak_bytes() -> int | str:
    """The memory of this process before its model is built, in bytes, with the system's mark of its peak set back to it.

    Call it in a fresh process. A reason in place of the number where the system has no such counters.

    What torch loads at the first step of any model, some 85 MB with its compiler, is loaded now, so that it counts for no
    model; and what lies free in the process goes back to the system, since `bench.machine.ALLOCATOR` has the process keep it
    and the model would take it up unseen. With that setting memory comes in large pages: a rise is known to a few MB, and
    includes the gaps between tensors that were given back; the peak itself is the same whether memory is kept or not.
    """
    load_training_code()
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: 0)(0)
    try:
        handle = os.open(RESET_FILE, os.O_WRONLY)
        os.write(handle, b"5")
        os.close(handle)
    except OSError as error:
        return f"not available: {RESET_FILE}: {error.strerror}"
    return read_peak_bytes()


def peak_growth_bytes(before: int | str) -> int | str:
    """Bytes by which the process has grown at most since `process_before`, or that function's reason. For no ranking."""
    now = read_peak_bytes()
    return (
        before if isinstance(before, str) else now if isinstance(now, str) else max(0, now - before)
    )


def read_peak_bytes() -> int | str:
    """The most memory that the process has had since the mark was set back, in bytes, or why that is not known."""
    try:
        lines = STATUS_FILE.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return f"not available: {STATUS_FILE}: {error.strerror}"
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else f"not available: {STATUS_FILE} has no VmHWM"


def load_training_code() -> None:
    """A training step of four numbers: torch loads what it needs for any. Draws no random numbers."""
    numbers = nn.Parameter(torch.zeros(2, 2))
    adam = torch.optim.AdamW([numbers], fused=True)
    (torch.ones(2, 2) @ numbers).sum().backward()
    nn.utils.clip_grad_norm_([numbers], 1.0)
    adam.step()
    adam.zero_grad(set_to_none=True)
