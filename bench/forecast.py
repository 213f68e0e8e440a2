"""What a command would run and cost, without running it: `dry=true`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from bench import data, machine, model, reading, record
from bench.config import Mistake, Run
from bench.identity import run_name, subject

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


def measured_rates(root: Path) -> dict[str, float]:
    """Training tokens a second by subject, as measured on this machine before: the median of the samples."""
    measures = reading.read(root).measures
    here = measures[(measures["metric"] == "train_tokens_per_second") & (measures["machine"] == machine.machine_digest())]
    return {str(key): float(value) for key, value in here.groupby("subject")["value"].median().items()}


def row(run: Run, rates: Mapping[str, float], peak: float) -> dict[str, object]:
    """One run: its size, its length, its time and the bytes that it leaves behind."""
    name = {"run": run_name(run)}
    try:
        vocabulary = data.prepare(run.data, run.names["data"]).vocabulary.size
        width = model.solve_width(run.arch, run.size.parameters, run.size.context, vocabulary)
        made = model.build(run.arch, width, run.size.context, vocabulary, seed=run.seed)
    except Mistake as mistake:
        return {**name, "note": f"can not start: {mistake}"}
    parameters = model.count(made)["parameters"]
    tokens = run.train.steps * run.train.batch * run.size.context
    rate = rates.get(subject(run))
    seconds = tokens / rate if rate else 3 * tokens * made.flops(run.size.context) / (SHARE * peak)
    folder, needed = record.wanted(run)
    return {
        **name,
        "width": width,
        "parameters": f"{parameters:,}",
        "steps": f"{run.train.steps:,}",
        "tokens": f"{tokens:,}",
        "minutes": round(seconds / 60, 1) if needed else 0.0,
        "disk_bytes": f"{4 * parameters:,}" if needed else "0",
        "note": ("" if rate else "time estimated from FLOPs") if needed else f"{record.status(folder)} before",
    }


def table(runs: Sequence[Run]) -> str:
    """The forecast as text: a line a run, then the whole."""
    root = Path(runs[0].results) / runs[0].suite
    rates, peak = measured_rates(root), peak_flops()
    rows = pd.DataFrame([row(run, rates, peak) for run in runs])
    jobs = machine.parallel_jobs(runs[0].threads)
    minutes = rows.get("minutes", pd.Series(dtype=float)).sum()
    whole = f"{len(runs)} runs, about {minutes / min(jobs, len(runs)):.0f} minutes, {jobs} at a time, measuring not counted"
    return f"{rows.fillna('').to_string(index=False)}\n{whole}; nothing was run"
