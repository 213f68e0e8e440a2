"""What a command would run and cost, without running it: `dry=true`."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from architectures.interface import Unsupported
from bench import data
from bench.config.errors import UserError
from bench.config.identity import run_name, workload_id
from bench.config.schema import Run, tuned_learning_rate
from bench.evaluation.suite import check_protocol_supported
from bench.model import LanguageModel, sizing
from bench.planning.budget import TrainingRate, measured_rates
from bench.records import store
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.system import host
from bench.training import setup

PEAK_SHARE = 0.35  # of the measured matrix-product peak that small models reach in training; used where no rate was measured yet


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


def build_checked_model(run: Run, elsewhere: bool) -> LanguageModel:
    """The model of a run, once all is looked at that the run itself looks at before it trains. Raises UserError, or Unsupported.

    `elsewhere`: it runs on another machine than this, whose devices and compilers say nothing.
    """
    if elsewhere:
        run = replace(
            run, train=replace(run.train, device="auto", precision="auto", compile="none")
        )
    corpus = data.prepare(run.data, run.names["data"])
    model = setup(run, corpus).model
    check_protocol_supported(model, run, corpus)
    return model


def with_learning_rate(run: Run) -> Run:
    """The run, with any learning rate where a search is still to find its first one."""
    known = (
        run.train.learning_rate is not None
        or tuned_learning_rate(run.arch, run.optimizer.kind) is not None
    )
    return run if known else replace(run, train=replace(run.train, learning_rate=1.0))


def forecast_row(
    run: Run, rates: Mapping[str, TrainingRate], peak: float, sweep: bool, elsewhere: bool
) -> dict[str, object]:
    """One run: its size, its length, its time and the bytes it leaves behind. Raises UserError where the only one can not start."""
    run = with_learning_rate(run)
    name = {"run": run_name(run)}
    try:
        made = build_checked_model(run, elsewhere)
        flops = made.flops(run.size.context)
    except Unsupported as reason:
        return {**name, "note": f"will be skipped: {reason}"}
    except UserError as reason:
        if not sweep:
            raise
        return {**name, "note": f"can not start: {reason}"}
    parameters = sizing.count_parameters(made)["parameters"]
    tokens = run.train.steps * run.train.batch * run.size.context
    rate = rates.get(workload_id(run))
    flops *= TRAINING_FLOPS_FACTOR * tokens
    seconds = tokens / rate.tokens_per_second if rate else flops / (PEAK_SHARE * peak)
    folder, needed = store.select_folder(run)
    return {
        **name,
        "width": made.backbone.width,
        "parameters": f"{parameters:,}",
        "steps": f"{run.train.steps:,}",
        "tokens": f"{tokens:,}",
        "flops": f"{flops:.3g}",
        "minutes": round(seconds / 60, 1) if needed else 0.0,
        "disk_bytes": f"{4 * parameters:,}" if needed else "0",
        "note": ("" if rate else "time estimated from FLOPs")
        if needed
        else f"{store.run_status(folder)} before",
    }


def forecast_table(
    runs: Sequence[Run],
    sweep: bool = True,
    elsewhere: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> str:
    """The forecast as text: a line a run, then the whole. Raises UserError where the only run of a command can not start.

    `say`: hears of each run of several that is looked at, for building a large one takes seconds.
    """
    root = Path(runs[0].results) / runs[0].suite
    rates, peak = measured_rates(root), peak_flops()
    rows = []
    for number, run in enumerate(runs, 1):
        if len(runs) > 1:
            say(f"looking at run {number} of {len(runs)}: {run_name(run)}")
        rows.append(forecast_row(run, rates, peak, sweep, elsewhere))
    listed = pd.DataFrame(rows)
    jobs = host.parallel_jobs(runs[0].threads)
    minutes = listed.get("minutes", pd.Series(dtype=float)).sum()
    whole = f"{len(runs)} runs, about {minutes / min(jobs, len(runs)):.0f} minutes, {jobs} at a time, measuring not counted"
    return f"{listed.fillna('').to_string(index=False)}\n{whole}; nothing was run"
