"""Forecast what a command would run and cost, without running it: `dry=true`."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
import torch

from architectures.interface import Unsupported
from bench import data, planning
from bench.cli.sweep import Sweep
from bench.config.errors import UserError
from bench.config.identity import run_name, workload_id
from bench.config.schema import Run, tuned_learning_rate
from bench.evaluation.suite import check_protocol_supported
from bench.execution.preflight import json_key, required_disk_bytes, validate
from bench.execution.train_sweep import trial_sweep
from bench.model import LanguageModel, sizing
from bench.planning.budget import TrainingRate, measured_rates
from bench.planning.planned import plan
from bench.records import store
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.system import files, host
from bench.training import setup

logger = logging.getLogger(__name__)
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
    for number, run in enumerate(runs, 1):
        if len(runs) > 1:
            logger.info(f"looking at run {number} of {len(runs)}: {run_name(run)}")
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
    try:
        model = build_checked_model(run, corpus, remote)
        forward = model.flops(run.size.context)
    except Unsupported as reason:
        return {"run": run_name(run), "note": f"will be skipped: {reason}"}
    parameters = sizing.count_parameters(model)["parameters"]
    tokens = _training_tokens(run)
    flops = TRAINING_FLOPS_FACTOR * forward * tokens
    seconds = tokens / rate.tokens_per_second if rate else flops / peak
    folder, needed = store.select_folder(run, data_digest=corpus.digest)
    estimated = "" if rate else "time estimated from FLOPs"
    return {
        "run": run_name(run),
        "width": model.backbone.width,
        "parameters": f"{parameters:,}",
        "steps": f"{run.train.steps:,}",
        "tokens": f"{tokens:,}",
        "flops": f"{flops:.3g}",
        "minutes": round(seconds / 60, 1) * needed,
        "disk_bytes": f"{4 * parameters * needed:,}",
        "note": estimated if needed else f"{store.run_status(folder)} before",
    }


def build_checked_model(run: Run, corpus: data.Corpus, remote: bool) -> LanguageModel:
    """Return the model of a run after all checks before training. Raises UserError, Unsupported.

    `remote`: it runs on another machine, whose devices and compilers are unknown.
    """
    if remote:
        elsewhere = replace(run.train, device="auto", precision="auto", compile="none")
        run = replace(run, train=elsewhere)
    model = setup(run, corpus).model
    check_protocol_supported(model, run, corpus)
    return model
