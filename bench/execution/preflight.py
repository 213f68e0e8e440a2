"""Find what is wrong with a command before any long work."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.cli.sweep import Sweep, distinct
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK
from bench.data.cache import cache_root
from bench.records import store
from bench.system import files, gpus, host

logger = logging.getLogger(__name__)


def preflight(sweep: Sweep) -> Sweep:
    """Check folders, devices, architectures and texts; return the sweep as `validate` does."""
    files.check_temporary_folder()
    folder = store.attempt_folders(sweep.runs[0])[0].parent
    files.check_writable(folder)
    files.check_file_locks(folder)
    validated = validate(sweep)
    files.check_free_space(folder, required_disk_bytes(validated))
    return validated


def validate(sweep: Sweep) -> Sweep:
    """Check devices, architectures and texts, without writing results. Raises UserError.

    Return the sweep with the digest of each run's data, unless another machine prepares them: a
    record of other data is not that of the run.
    """
    from bench import model
    from bench.tasks.preferences.parts import check_options  # slow to import, as scipy is

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
    check_tasks([run for run in sweep.runs if run.task.kind != NO_TASK])
    digests = {data_key(run): data_digest(run) for run in distinct(sweep.runs, data_key)}
    if sweep.remote:
        return sweep
    check_decoding(sweep.runs)
    jobs = (job._replace(data_digest=digests[data_key(job.run)]) for job in sweep.jobs)
    return replace(sweep, jobs=tuple(jobs))


def check_decoding(runs: Sequence[Run]) -> None:
    """Raise UserError for decode=compiled where this machine or an architecture cannot have it.

    The steps are compiled, and kept in the cache for the measurement. What cannot be built fails
    alone, and encoders do not decode.
    """
    compiled = [run for run in runs if run.decode == "compiled"]
    for run in distinct_by(compiled, lambda run: [run.arch, run.size, run.train, run.data]):
        files.check_writable(cache_root(run.data.cache))
        name = run.names.get("arch", "?")
        if reason := _not_compiled(run, name):
            message = f"decode=compiled is not possible for arch={name}"
            raise UserError(f"{message}: {reason}; use decode=auto", "not-supported")


def _not_compiled(run: Run, name: str) -> str:
    """Return why a run's one-token step cannot be compiled; empty where it is."""
    import torch

    from architectures.interface import Unsupported
    from bench import data
    from bench.model import ModelBuildError, decoding
    from bench.training import setup_on_random_tokens

    torch.set_num_threads(run.threads)
    try:
        vocabulary = data.prepare(run.data, run.names["data"]).vocabulary.size
        setup = setup_on_random_tokens(run, vocabulary)
        if setup.model.backbone.causal:
            decoding.check_machine(setup.settings.device, setup.settings.precision)
            logger.info("%s: compiling its one-token step, unless it is in the cache", name)
            decoding.compiled_step(setup.model, run.arch, root=run.data.cache)
    except ModelBuildError:
        return ""
    except Unsupported as reason:
        return str(reason)
    return ""


def data_key(run: Run) -> str:
    """Return a key that is equal for runs on the same data."""
    return json_key([run.data, run.task, run.preference])


def data_digest(run: Run) -> str:
    """Return the digest of a run's text with its labels, or of its task's examples.

    Raise UserError where they cannot be prepared.
    """
    from bench import data  # what prepares them is slow to import
    from bench.tasks.finetuning.examples import prepare_examples
    from bench.tasks.preferences.people import with_labels

    if run.task.kind != NO_TASK:
        return prepare_examples(run.task, run.names["task"], run.data.cache).digest
    return with_labels(data.prepare(run.data, run.names["data"]).digest, run)


def check_tasks(runs: Sequence[Run]) -> None:
    """Check the examples of tasks against what each run can read. Raises UserError."""
    from bench.execution.finetune import task_vocabulary
    from bench.tasks.finetuning import encode_examples, encode_pairs, scored_pairs, task_examples

    for run in distinct_by(runs, lambda run: [run.task, run.data, run.size.context]):
        task = task_examples(run)
        vocabulary = task_vocabulary(run)
        if run.task.kind == "pairs":
            encode_pairs(scored_pairs(run), vocabulary, run.size.context)
        else:
            encode_examples(task, run.task, vocabulary, run.size.context)


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
