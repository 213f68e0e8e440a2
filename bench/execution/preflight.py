"""Find what is wrong with a command before any long work."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from bench.cli.sweep import Sweep, distinct
from bench.config.schema import Run
from bench.records import store
from bench.system import files, gpus, host


def preflight(sweep: Sweep) -> None:
    """Check folders, devices, architectures and texts. Raises UserError."""
    folder = store.attempt_folders(sweep.runs[0])[0].parent
    files.check_writable(folder)
    files.check_file_locks(folder)
    files.check_free_space(folder, required_disk_bytes(sweep))
    validate(sweep)


def validate(sweep: Sweep) -> None:
    """Check devices, architectures and texts, without writing results. Raises UserError."""
    from bench import data, model

    for run in sweep.runs if not sweep.remote else ():
        gpus.check_gpu_count(run)
    for run in distinct_by(sweep.runs, lambda run: run.arch):
        try:
            model.backbone_class(run.arch)
        except model.ModelBuildError:
            if not sweep.is_sweep:
                raise  # in a sweep this run alone fails, and its record says why
    for run in distinct_by(sweep.runs, lambda run: asdict(run.data)):
        data.prepare(run.data, run.names["data"])


def required_disk_bytes(sweep: Sweep) -> int:
    """Return the bytes that a command still writes at most.

    Weights of each run, and for each run in progress three training states: the weights with up to
    two values of the optimizer each.
    """
    sizes = sorted(
        (
            4 * run.size.parameters
            for run in sweep.runs
            if store.run_status(store.attempt_folders(run)[-1]) not in ("done", "skipped")
        ),
        reverse=True,
    )
    jobs = host.parallel_jobs(sweep.runs[0].threads) if sweep.parallel else 1
    return sum(sizes) + 9 * sum(sizes[:jobs])


def distinct_by(runs: Sequence[Run], key: Callable[[Run], Any]) -> list[Run]:
    """Return the first run of each key, which JSON can hold."""
    return distinct(runs, lambda run: json.dumps(key(run), sort_keys=True, default=str))
