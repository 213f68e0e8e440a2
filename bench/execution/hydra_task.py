"""Run each job that a launcher hands out, in whatever process of whatever machine."""

import logging
import lzma
import os
import pickle
import platform
from dataclasses import asdict
from threading import Event

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bench.cli.composer import run_from_config
from bench.cli.console import setup_logging
from bench.cli.sweep import Job, Sweep
from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.execution.runner import run_in_subprocess
from bench.planning.planned import plan
from bench.system import signals

logger = logging.getLogger(__name__)
_interrupted = Event()  # in a process of a launcher: Ctrl-C came, no further run is begun


class HydraTask:
    """What a launcher calls for each run, in whatever process of whatever machine.

    It brings what such a process needs of the command: the runs, the folder and the environment.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.command, self.folder, self.process = sweep.command, os.getcwd(), _process_name()
        jobs = {job.overrides: job for job in sweep.jobs if sweep.is_enumerated}
        self.jobs = lzma.compress(pickle.dumps(jobs))  # launchers may pickle the task for each run
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
        job: Job | None = pickle.loads(lzma.decompress(self.jobs)).get(overrides)
        if job is None:  # another sweeper than Hydra's own chose the overrides
            (run,) = plan([run_from_config(config, hydra.runtime.choices)])
            return Job(run, overrides)
        return job

    def run(self, job: Job) -> None:
        """Train a run, or leave it to the command's end if another command is busy with it."""
        try:
            busy = not run_in_subprocess(job, self.command, wait=False)
            if busy and not signals.defer(run_name(job.run), [asdict(job.run), *job[1:]]):
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
