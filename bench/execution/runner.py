"""Run one run in a process of its own, record it however it ends, and ensure that one is done."""

import logging
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.cli.sweep import CommandLine, Job
from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.config.schema import Run
from bench.execution import torchrun
from bench.execution.bases import base_jobs
from bench.execution.outcome import collect_provenance, status_line
from bench.execution.preflight import data_digest
from bench.records import loading, store
from bench.records.finished import FinishedRun, finished_run, open_finished
from bench.records.schema import FINISHED
from bench.system import gpus, host, processes, signals
from bench.system.files import write_error_message

logger = logging.getLogger(__name__)
EXIT_CANNOT_START = 2  # of a worker that found, before training, that its run cannot be


class RunNotDone(Exception):
    """A run that another one starts from is not done; the message is its name and why."""

    def __init__(self, folder: Path) -> None:
        self.status = store.run_status(folder)
        super().__init__(f"{folder.name}, which it starts from, is {status_line(folder)}")


def ensure_run(job: Job, command: CommandLine) -> FinishedRun:
    """Return a run that is done: read where it is, waited for where another process trains it.

    Where neither holds it is trained here. It is never repeated by again=all. Raise RunNotDone
    where it failed, was skipped or was stopped.
    """
    again = "failed" if job.run.again == "failed" else "none"
    run = replace(job.run, again=again)
    digest = job.data_digest or current_data_digest(run)
    if finished_run(run, digest) is None:
        run_in_subprocess(job._replace(run=run, data_digest=digest), command)
    finished = finished_run(run, digest)
    if finished is None:
        raise RunNotDone(store.attempt_folders(run)[-1])
    return finished


def run_in_subprocess(job: Job, command: CommandLine, wait: bool = True) -> bool:
    """Train one run in a process of its own, unless it is finished; record how that ends.

    Return False if another command is busy with it, and this one is not to `wait` for its end.
    """
    name, locks = run_name(job.run), store.attempt_folders(job.run)[0].parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / name)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            then = "waiting for its end" if wait else "back to it at the end"
            logger.info(f"{name}: another command runs it; {then}")
            if not wait:
                return False
            held = lock.acquire()
        with held:
            _train_and_record(job, command)
    except OSError as error:
        logger.info(f"{name}: {write_error_message(error, locks.parent)}")
    return True


def _train_and_record(job: Job, command: CommandLine) -> None:
    run, folder = job.run, _folder_to_run(job, command)
    if folder is None:
        return
    gpus.check_gpu_count(run)  # this may be another machine than the command's
    environment, provenance = host.environment_record(run.threads), collect_provenance(job, command)
    try:
        provenance |= _ensure_bases(job, command)
    except RunNotDone as error:
        if error.status in FINISHED:
            store.create_record(folder, run, environment, provenance)
            store.write_result(folder, error.status, str(error))
        logger.info(f"{folder.name}: {error}")
        return
    store.create_record(folder, run, environment, provenance)
    result = _run_worker(run, folder)
    _record_death(folder, result)
    if result.code != EXIT_CANNOT_START:  # the command reports that one at its end
        logger.info(f"{folder.name}: {status_line(folder)}")


def _folder_to_run(job: Job, command: CommandLine) -> Path | None:
    """Return where a run is to be run, and log why; None where it is finished."""
    run, last = job.run, store.attempt_folders(job.run)[-1]
    status, digest = store.run_status(last), job.data_digest
    if not digest and status in FINISHED:
        digest = current_data_digest(run)
    folder, needed = store.select_folder(run, command.began, digest)
    if not needed:
        if status in ("done", "skipped"):
            store.remove_training_state(folder)
        logger.info(f"{last.name}: {status} before, not run again")
        return None
    if status == loading.UNREADABLE:
        logger.info(f"{last.name}: {status_line(last)}; it is kept, and run again beside it")
    elif folder != last and store.has_other_data(last, digest):
        logger.info(
            f"{last.name}: {status} before, but its text or tokenizer has changed since: run again "
            "beside it"
        )
    return folder


def current_data_digest(run: Run) -> str:
    """Return the digest of a run's data as they are now; empty where they cannot be prepared."""
    with suppress(UserError):  # its worker says why
        return data_digest(run)
    return ""


def _ensure_bases(job: Job, command: CommandLine) -> dict[str, Any]:
    """Return what the provenance keeps of the finished runs that a run starts from."""
    bases = {role: ensure_run(base, command) for role, base in base_jobs(job).items()}
    if job.run.base and "base" not in bases:
        bases["base"] = open_finished(Path(job.run.base))
    return {"bases": {role: base.as_json() for role, base in bases.items()}} if bases else {}


def _run_worker(run: Run, folder: Path) -> processes.ProcessResult:
    if torchrun.is_active():
        rendezvous = torchrun.announce_run(run, folder)
        result = torchrun.run_worker(run, folder, environment=rendezvous)
        reason = result.reason and torchrun.death_reason(rendezvous, result.reason)
        return result._replace(reason=reason)
    with gpus.reserve_gpus(run) as visible:
        return torchrun.run_worker(run, folder, run.train.ranks, visible)


def _record_death(folder: Path, result: processes.ProcessResult) -> None:
    """Record a run whose worker could not do so itself."""
    if result.code == -signal.SIGKILL:
        time.sleep(1)  # if this process is killed too, the run was interrupted and did not fail
    if result.reason and result.code != -signal.SIGTERM:  # stopped before its handler was there
        store.write_result(folder, "failed", result.reason)
        return
    reported = (signals.EXIT_STOPPED, processes.EXIT_NOT_RECORDED)
    if result.reason or result.code in reported or store.run_status(folder) != "unfinished":
        return
    # os._exit in an architecture: its code alone is not a result
    reason = f"its process ended with code {result.code} and left no result"
    store.write_result(folder, "failed", reason)
