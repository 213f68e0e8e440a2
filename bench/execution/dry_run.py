"""Forecast what a command would run and cost, without running it: `dry=true`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from architectures.interface import Unsupported
from bench import data, planning
from bench.cli.sweep import Sweep, distinct
from bench.config.dependencies import base_run, required_runs
from bench.config.errors import UserError
from bench.config.identity import run_name, workload_id
from bench.config.schema import Run, tuned_learning_rate
from bench.evaluation.suite import check_protocol_supported
from bench.execution.preflight import data_digest, json_key, required_disk_bytes, validate
from bench.execution.train_sweep import trial_sweep
from bench.model import build_on_meta, count_parameters
from bench.planning.budget import TrainingRate, measured_rates
from bench.planning.planned import plan
from bench.records import store
from bench.records.finished import finished_run, training_speed
from bench.records.metrics import TRAINING_FLOPS_FACTOR
from bench.system import files, host
from bench.tasks.preferences.costs import keeps_state, part_costs
from bench.training import setup

FROM_FLOPS = "time estimated from FLOPs"
PEAK_SHARE = 0.35  # of the peak of matrix products that small models reach in training


class ModelSize(NamedTuple):
    """The size of a model that passes all checks before training, or why it is skipped."""

    width: int = 0
    parameters: int = 0
    flops_per_token: float = 0.0  # forward
    unsupported: str = ""


def model_size(run: Run, corpus: data.Corpus) -> ModelSize:
    """Return the size of a run's model. Raise UserError where the run cannot start."""
    try:
        model = setup(run, corpus).model
        check_protocol_supported(model, run, corpus)
        flops = model.flops(run.size.context)
    except Unsupported as reason:
        return ModelSize(unsupported=str(reason))
    return ModelSize(model.backbone.width, count_parameters(model)["parameters"], flops)


Sizes = dict[str, ModelSize | UserError]


def size_once(sizes: Sizes, run: Run, corpus: data.Corpus) -> ModelSize:
    """Return or raise what `model_size` does, built once for all runs of the same model."""
    key = json_key([workload_id(run), run.data, run.evaluate])
    if key not in sizes:
        try:
            sizes[key] = model_size(run, corpus)
        except UserError as error:
            sizes[key] = error
    if isinstance(size := sizes[key], UserError):
        raise size
    return size


def forecast(sweep: Sweep) -> str:
    """Return a line for each run of a composed sweep, and a sum. Raises UserError."""
    runs = plan(sweep.runs, keep=False)
    planned = sweep.with_runs(list(map(with_learning_rate, runs)))
    files.check_creatable(sweep.folder / "runs", required_disk_bytes(validate(planned)))
    if planning.has_open_searches(sweep.runs):
        trials = trial_sweep(sweep).runs
        second_runs = [run for run in trials if run.tune.trial < run.tune.finalists]  # of as many
        runs += plan([*trials, *second_runs], keep=False)
    table = pd.DataFrame(forecast_rows(sweep, with_bases(runs)))
    jobs = host.parallel_jobs(runs[0].threads, runs[0].train.ranks)
    minutes = table.get("minutes", pd.Series(dtype=float)).sum() / min(jobs, len(runs))
    total = f"{len(runs)} runs, about {minutes:.0f} minutes, {jobs} at a time, without measuring"
    return f"{table.fillna('').to_string(index=False)}\n{total}; nothing was run"


def forecast_rows(sweep: Sweep, runs: Sequence[Run]) -> Iterator[dict[str, object]]:
    """Yield a row for each run; in a sweep one that cannot start has a note. Raises UserError."""
    rates, peak = measured_rates(sweep.folder), PEAK_SHARE * peak_flops()
    corpora, sizes = dict[str, data.Corpus](), Sizes()
    for run in runs:
        try:
            if (key := json_key(run.data)) not in corpora:
                corpora[key] = data.prepare(run.data, run.names["data"])
            rate = rates.get(workload_id(run))
            size = size_once(sizes, elsewhere(run) if sweep.remote else run, corpora[key])
            if run.preference.enabled:
                yield from preference_rows(run, corpora[key], size, rate, peak)
                continue
            yield forecast_row(run, corpora[key].digest, size, rate, peak)
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
    run: Run, corpus_digest: str, size: ModelSize, rate: TrainingRate | None, peak: float
) -> dict[str, object]:
    """Return size, length, time and disk space of one run."""
    if size.unsupported:
        return {"run": run_name(run), "note": f"will be skipped: {size.unsupported}"}
    tokens = _training_tokens(run)
    flops = TRAINING_FLOPS_FACTOR * size.flops_per_token * tokens
    seconds = tokens / rate.tokens_per_second if rate else flops / peak
    folder, needed = store.select_folder(run, data_digest=corpus_digest)
    estimated = "" if rate else FROM_FLOPS
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


def with_bases(runs: Sequence[Run]) -> list[Run]:
    """Return runs, and before them those that learning from preferences starts from."""
    learning = [run for run in runs if run.preference.enabled]
    bases = [base for run in learning for base in required_runs(run).values()]
    rated = list(map(with_learning_rate, runs))
    names = {run_name(run) for run in rated}
    further = distinct(map(with_learning_rate, bases), run_name)
    return [*(base for base in further if run_name(base) not in names), *rated]


def preference_rows(
    run: Run, corpus: data.Corpus, size: ModelSize, rate: TrainingRate | None, peak: float
) -> Iterator[dict[str, object]]:
    """Yield a row for each part of learning from preferences. Raises UserError."""
    name = run_name(run)
    folder, needed = store.select_folder(run, data_digest=data_digest(run))
    network = build_on_meta(run.arch, size.width or 64, run.size.context, corpus.vocabulary.size)
    if not (needed and network.backbone.causal and not size.unsupported):
        reason = f"will be skipped: {size.unsupported or 'an encoder writes no text'}"
        yield {"run": name, "note": reason if needed else f"{store.run_status(folder)} before"}
        return
    speed = stage_speed(run, rate)
    note = "" if speed else FROM_FLOPS
    speed = speed or peak / (TRAINING_FLOPS_FACTOR * size.flops_per_token)
    for part, tokens in part_costs(run, keeps_state(network)):
        minutes = round(tokens / speed / 60, 1)
        yield {"run": name, "part": part.name, "minutes": minutes, "note": note}


def stage_speed(run: Run, rate: TrainingRate | None) -> float:
    """Return the tokens per second at which the base of a run trained, or is measured; else 0."""
    base = None if run.base else finished_run(base_run(run))
    folder = Path(run.base) if run.base else base and base.folder
    speed = training_speed(folder) if folder else 0.0
    return speed or (rate.tokens_per_second if rate else 0.0)


def elsewhere(run: Run) -> Run:
    """Return a run without what depends on the machine, for one with unknown devices."""
    return replace(run, train=replace(run.train, device="auto", precision="auto", compile="none"))
