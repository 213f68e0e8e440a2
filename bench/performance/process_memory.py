"""Measure the peak memory of this process, as the kernel counts it."""

import ctypes
import gc
import os
from pathlib import Path

import torch
from torch import nn

STATUS_FILE, RESET_FILE = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak_bytes() -> int | str:
    """Reset the peak memory of this process and return it in bytes, or why it cannot be read.

    Call it in a fresh process before the model is built. What torch loads at any model's first
    step, some 85 MB with its compiler, is loaded now, so that it counts for no model. Free memory
    goes back to the kernel: `bench.system.host.ALLOCATOR_TUNABLES` make the process keep it, and
    the model would reuse it unseen. With these settings memory comes in huge pages, so a growth is
    known to a few MB and includes the gaps between freed tensors.
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
    """Return the growth of the peak since `reset_peak_bytes`, or that function's reason."""
    now = read_peak_bytes()
    if isinstance(before, str) or isinstance(now, str):
        return before if isinstance(before, str) else now
    return max(0, now - before)


def read_peak_bytes() -> int | str:
    """Return the most memory of this process since the reset, or why it is not known.

    psutil reads no peak on Linux.
    """
    try:
        lines = STATUS_FILE.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return f"not available: {STATUS_FILE}: {error.strerror}"
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else f"not available: {STATUS_FILE} has no VmHWM"


def load_training_code() -> None:
    """Take a training step on four numbers, for which torch loads what any model needs.

    Draw no random numbers.
    """
    weights = nn.Parameter(torch.zeros(2, 2))
    optimizer = torch.optim.AdamW([weights], fused=True)
    (torch.ones(2, 2) @ weights).sum().backward()
    nn.utils.clip_grad_norm_([weights], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
