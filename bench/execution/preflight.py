"""Find what is wrong with a command before any long work."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.cli.sweep import Sweep, distinct
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK
from bench.records import store
from bench.system import files, gpus, host
from bench.tasks.preferences.parts import check_options
from bench.tasks.preferences.people import with_labels


def preflight(sweep: Sweep) -> Sweep:
    """Check folders, devices, architectures and texts; return the sweep as `validate` does."""
    folder = store.attempt_folders(sweep.runs[0])[0].parent
    files.check_writable(folder)
    files.check_file_locks(folder)
    validated = validate(sweep)
    files.check_free_space(folder, required_disk_bytes(validated))
    return validated


def validate(sweep: Sweep) -> Sweep:
    """Check devices, architectures and texts, without writing results. Raises UserError.

    Return the sweep with the digest of each run's data, unless another machine prepares them or
    they are the examples of a task: a record of other data is not that of the run.
    """
    from bench import data, model

    for run in sweep.runs if not sweep.remote else ():
        gpus.check_gpu_count(run)
    for run in distinct_by(sweep.runs, lambda run: run.arch):
        try:
            model.backbone_class(run.arch)
        except model.ModelBuildError:
            if not sweep.is_sweep:
                raise  # in a sweep this run alone fails, and its record says why
    learning = [run for run in sweep.runs if run.preference.enabled]
    for run in distinct_by(learning, lambda run: [run.preference, run.size.context]):
        check_options(run)
    digests = {
        json_key(run.data): data.prepare(run.data, run.names["data"]).digest
        for run in distinct_by(sweep.runs, lambda run: run.data)
    }
    jobs = (
        job._replace(data_digest=with_labels(digests[json_key(job.run.data)], job.run))
        if job.run.task.kind == NO_TASK and not sweep.remote
        else job
        for job in sweep.jobs
    )
    return replace(sweep, jobs=tuple(jobs))


def required_disk_bytes(sweep: Sweep) -> int:
    """Return the bytes that a command still writes at most.

    Weights of each run, and for each run in progress three training states: the weights with up to
    two values of the optimizer each.
    """
    sizes = sorted(
        (
            4 * job.run.size.parameters
            for job in sweep.jobs
            if store.select_folder(job.run, data_digest=job.data_digest)[1]
        ),
        reverse=True,
    )
    jobs = host.parallel_jobs(sweep.runs[0].threads) if sweep.parallel else 1
    return sum(sizes) + 9 * sum(sizes[:jobs])


def distinct_by(runs: Sequence[Run], key: Callable[[Run], Any]) -> list[Run]:
    """Return the first run of each key, as `json_key` compares them."""
    return distinct(runs, lambda run: json_key(key(run)))


def json_key(value: Any) -> str:
    """Return a key that is equal for equal values, which JSON can hold, and dataclasses."""
    return json.dumps(value, sort_keys=True, default=vars)
