"""Forecast what a command would run and cost, without running it: `dry=true`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
import torch

from bench import data, planning
from bench.cli.sweep import Sweep
from bench.config.errors import UserError
from bench.config.identity import run_name, workload_id
from bench.config.schema import Run, tuned_learning_rate
from bench.execution.model_size import model_size
from bench.execution.preflight import json_key, required_disk_bytes, validate
from bench.execution.train_sweep import trial_sweep
from bench.planning.budget import TrainingRate, measured_rates
from bench.planning.planned import plan
from bench.records import store
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.system import files, host

PEAK_SHARE = 0.35  # of the peak of matrix products that small models reach in training


def forecast(sweep: Sweep) -> str:
    """Return a line for each run of a composed sweep, and a sum. Raises UserError."""
    runs = plan(sweep.runs, keep=False)
    planned = sweep.with_runs(list(map(with_learning_rate, runs)))
    files.check_creatable(sweep.folder / "runs", required_disk_bytes(validate(planned)))
    if planning.has_open_searches(sweep.runs):
        trials = trial_sweep(sweep).runs
        second_runs = [run for run in trials if run.tune.trial < run.tune.finalists]  # of as many
        runs += plan([*trials, *second_runs], keep=False)
    table = pd.DataFrame(forecast_rows(sweep, list(map(with_learning_rate, runs))))
    jobs = host.parallel_jobs(runs[0].threads, runs[0].train.ranks)
    minutes = table.get("minutes", pd.Series(dtype=float)).sum() / min(jobs, len(runs))
    total = f"{len(runs)} runs, about {minutes:.0f} minutes, {jobs} at a time, without measuring"
    return f"{table.fillna('').to_string(index=False)}\n{total}; nothing was run"


def forecast_rows(sweep: Sweep, runs: Sequence[Run]) -> Iterator[dict[str, object]]:
    """Yield a row for each run; in a sweep one that cannot start has a note. Raises UserError."""
    rates, peak = measured_rates(sweep.folder), PEAK_SHARE * peak_flops()
    corpora: dict[str, data.Corpus] = {}
    for run in runs:
        try:
            if (key := json_key(run.data)) not in corpora:
                corpora[key] = data.prepare(run.data, run.names["data"])
            rate = rates.get(workload_id(run))
            yield forecast_row(run, corpora[key], rate, peak, sweep.remote)
        except UserError as error:
            if not sweep.is_sweep:
                raise
            yield {"run": run_name(run), "note": f"cannot start: {error}"}


def peak_flops(size: int = 768, seconds: float = 0.3) -> float:
    """Return the FLOPs per second of a float32 matrix product, on one thread, now."""
    torch.set_num_threads(1)
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    rounds, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        a @ b
        rounds += 1
    return 2 * size**3 * rounds / (time.perf_counter() - start)


def with_learning_rate(run: Run) -> Run:
    """Return the run, with any learning rate if a search is still to find its first one."""
    tuned = tuned_learning_rate(run.arch, run.optimizer.kind)
    if run.train.learning_rate is not None or tuned is not None:
        return run
    return replace(run, train=replace(run.train, learning_rate=1.0))


def _training_tokens(run: Run) -> int:
    return run.train.steps * run.train.batch * run.size.context


def forecast_row(
    run: Run, corpus: data.Corpus, rate: TrainingRate | None, peak: float, remote: bool
) -> dict[str, object]:
    """Return size, length, time and disk space of one run. Raises UserError if it cannot start."""
    size = model_size(elsewhere(run) if remote else run, corpus)
    if size.unsupported:
        return {"run": run_name(run), "note": f"will be skipped: {size.unsupported}"}
    tokens = _training_tokens(run)
    flops = TRAINING_FLOPS_FACTOR * size.flops_per_token * tokens
    seconds = tokens / rate.tokens_per_second if rate else flops / peak
    folder, needed = store.select_folder(run, data_digest=corpus.digest)
    estimated = "" if rate else "time estimated from FLOPs"
    return {
        "run": run_name(run),
        "width": size.width,
        "parameters": f"{size.parameters:,}",
        "steps": f"{run.train.steps:,}",
        "tokens": f"{tokens:,}",
        "flops": f"{flops:.3g}",
        "minutes": round(seconds / 60, 1) * needed,
        "disk_bytes": f"{4 * size.parameters * needed:,}",
        "note": estimated if needed else f"{store.run_status(folder)} before",
    }


def elsewhere(run: Run) -> Run:
    """Return a run without what depends on the machine, for one with unknown devices."""
    return replace(run, train=replace(run.train, device="auto", precision="auto", compile="none"))
