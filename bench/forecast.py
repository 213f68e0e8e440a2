"""What a command would run and cost, without running it: `dry=true`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from architectures.interface import Unsupported
from bench import data, machine, model, record, sizing
from bench.config import Mistake, Run
from bench.identity import run_name, subject
from bench.metric import TRAINING
from bench.plans import Rate, measured

SHARE = 0.35  # of the measured matrix-product peak that small models reach in training; used where no rate was measured yet


def peak_flops(size: int = 768, seconds: float = 0.3) -> float:
    """Floating-point operations a second of a matrix product in float32, on one thread, now."""
    torch.set_num_threads(1)
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    rounds, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        a @ b
        rounds += 1
    return 2 * size**3 * rounds / (time.perf_counter() - began)


def row(run: Run, rates: Mapping[str, Rate], peak: float) -> dict[str, object]:
    """One run: its size, its length, its time and the bytes that it leaves behind."""
    name = {"run": run_name(run)}
    try:
        vocabulary = data.prepare(run.data, run.names["data"]).vocabulary.size
        width = sizing.fitting_width(run.arch, run.size, vocabulary)
        made = model.build(run.arch, width, run.size.context, vocabulary, seed=run.seed)
    except (Mistake, Unsupported) as reason:
        return {**name, "note": f"can not start: {reason}"}
    parameters = sizing.count(made)["parameters"]
    tokens = run.train.steps * run.train.batch * run.size.context
    rate = rates.get(subject(run))
    flops = TRAINING * tokens * made.flops(run.size.context)
    seconds = tokens / rate.tokens_per_second if rate else flops / (SHARE * peak)
    folder, needed = record.wanted(run)
    return {
        **name,
        "width": width,
        "parameters": f"{parameters:,}",
        "steps": f"{run.train.steps:,}",
        "tokens": f"{tokens:,}",
        "flops": f"{flops:.3g}",
        "minutes": round(seconds / 60, 1) if needed else 0.0,
        "disk_bytes": f"{4 * parameters:,}" if needed else "0",
        "note": ("" if rate else "time estimated from FLOPs") if needed else f"{record.status(folder)} before",
    }


def table(runs: Sequence[Run]) -> str:
    """The forecast as text: a line a run, then the whole."""
    root = Path(runs[0].results) / runs[0].suite
    rates, peak = measured(root), peak_flops()
    rows = pd.DataFrame([row(run, rates, peak) for run in runs])
    jobs = machine.parallel_jobs(runs[0].threads)
    minutes = rows.get("minutes", pd.Series(dtype=float)).sum()
    whole = f"{len(runs)} runs, about {minutes / min(jobs, len(runs)):.0f} minutes, {jobs} at a time, measuring not counted"
    return f"{rows.fillna('').to_string(index=False)}\n{whole}; nothing was run"
