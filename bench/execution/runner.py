"""Run each run of a sweep in a process of its own, and record it however it ends."""

import json
import logging
import lzma
import os
import pickle
import platform
import signal
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bench.cli.composer import run_from_config
from bench.cli.console import setup_logging
from bench.cli.sweep import CommandLine, Job, Sweep
from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.config.schema import Run, run_from_dict
from bench.execution import torchrun
from bench.execution.provenance import collect_provenance, status_line
from bench.planning.planned import plan
from bench.records import loading, store
from bench.system import gpus, host, processes, signals
from bench.system.files import write_error_message

logger = logging.getLogger(__name__)
WORKER = "bench.execution.worker"
EXIT_CANNOT_START = 2  # of a worker that found, before training, that its run cannot be

_interrupted = Event()  # in a process of a launcher: Ctrl-C came, no further run is begun


class HydraTask:
    """What a launcher calls for each run, in whatever process of whatever machine.

    It brings what such a process needs of the command: the runs, the folder and the environment.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.command, self.folder, self.process = sweep.command, os.getcwd(), _process_name()
        runs = {job.overrides: job.run for job in sweep.jobs if sweep.is_enumerated}
        self.runs = lzma.compress(pickle.dumps(runs))  # launchers may pickle the task for each run
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key.startswith("BENCH_") or key == "PYTHONPATH"
        }

    def __call__(self, config: DictConfig) -> None:
        os.environ.update(self.environment)
        if self.process != _process_name():
            setup_logging()
            signals.exit_with_parent()
        try:
            os.chdir(self.folder)
        except OSError as error:
            logger.error(
                f"{self.folder} cannot be entered on {platform.node()} ({error.strerror}): "
                "start the command in a folder that all machines see"
            )
            return
        if not (_interrupted.is_set() or signals.command_ended()):
            self.run(self.find_job(config))

    def find_job(self, config: DictConfig) -> Job:
        """Return the run that a launcher's configuration stands for."""
        hydra = HydraConfig.get()
        overrides = tuple(hydra.overrides.task)
        run = pickle.loads(lzma.decompress(self.runs)).get(overrides)
        if run is None:  # another sweeper than Hydra's own chose the overrides
            (run,) = plan([run_from_config(config, hydra.runtime.choices)])
        return Job(run, overrides)

    def run(self, job: Job) -> None:
        """Train a run, or leave it to the command's end if another command is busy with it."""
        try:
            busy = not run_in_subprocess(job, self.command, wait=False)
            if busy and not signals.defer(run_name(job.run), [asdict(job.run), job.overrides]):
                run_in_subprocess(job, self.command)
        except UserError as error:
            logger.error(f"{error} [{error.code}]")
        except KeyboardInterrupt:
            if self.process == _process_name():
                raise
            # if it raised, the launcher would kill the other runs while they save
            _interrupted.set()


def _process_name() -> str:
    return f"{platform.node()}:{os.getpid()}"


def run_deferred(
    deferred: Iterable[tuple[dict[str, Any], list[str]]], command: CommandLine
) -> None:
    """Run, or wait for, the runs that another command was busy with."""
    for tree, overrides in deferred:
        run_in_subprocess(Job(run_from_dict(tree), tuple(overrides)), command)


def run_in_subprocess(job: Job, command: CommandLine, wait: bool = True) -> bool:
    """Train one run in a process of its own, unless it is finished; record how that ends.

    Return False if another command is busy with it, and this one is not to `wait` for its end.
    """
    name, locks = run_name(job.run), Path(job.run.results) / job.run.suite / "runs" / ".locks"
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
    run, last = job.run, store.attempt_folders(job.run)[-1]
    folder, needed = store.select_folder(run, command.began)
    if not needed:
        if store.run_status(folder) in ("done", "skipped"):
            store.remove_training_state(folder)
        logger.info(f"{folder.name}: {store.run_status(folder)} before, not run again")
        return
    if store.run_status(last) == loading.UNREADABLE:
        logger.info(f"{last.name}: {status_line(last)}; it is kept, and run again beside it")
    gpus.check_gpu_count(run)  # this may be another machine than the command's
    provenance = collect_provenance(job, command)
    store.create_record(folder, run, host.environment_record(run.threads), provenance)
    result = _run_worker(run, folder)
    _record_death(folder, result)
    if result.code != EXIT_CANNOT_START:  # the command reports that one at its end
        logger.info(f"{folder.name}: {status_line(folder)}")


def _run_worker(run: Run, folder: Path) -> processes.ProcessResult:
    """Run the process, or the ranks, that train a run, and wait for the end."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "run.json"
        path.write_text(json.dumps(asdict(run)), encoding="utf-8")
        call = (
            [WORKER, str(path), str(folder)], run.threads, run.train.limit_seconds, folder.name
        )  # fmt: skip
        if torchrun.is_active():
            rendezvous = torchrun.announce_run(run, folder)
            result = processes.run_module(*call, environment=rendezvous)
            reason = result.reason and torchrun.death_reason(rendezvous, result.reason)
            return result._replace(reason=reason)
        with gpus.reserve_gpus(run) as visible:
            return processes.run_module(*call, run.train.ranks, visible)


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
