"""Train the runs of a sweep, and the trials of its searches, through its launcher."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import NoReturn

from bench import planning
from bench.cli import launchers
from bench.cli.launch import launch
from bench.cli.sweep import Job, Sweep, is_task_override
from bench.config.dependencies import base_run
from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.config.schema import Run, run_from_dict
from bench.execution.bases import base_jobs
from bench.execution.hydra_task import HydraTask
from bench.execution.preflight import data_key, preflight
from bench.execution.runner import current_data_digest, run_in_subprocess
from bench.planning.planned import plan, search_trials
from bench.records.finished import finished_run
from bench.system import processes, signals

logger = logging.getLogger(__name__)
SAVE_SECONDS = 30  # that workers have after Ctrl-C before the command ends without them
NOT_OF_TRIALS = ("seed", "control.arch", "control.seeds")  # keys


def train(sweep: Sweep) -> None:
    """Train the runs of a planned sweep. Raises UserError before any long work."""
    sweep = preflight(sweep)
    for name in sweep.duplicates:
        logger.info(f"{name}: the same as another run of this command, under another name")
    with signals.hold_command_lock(sweep.remote) as lock:
        for stage in (missing_bases(sweep), sweep):
            _train_stage(stage, lock)


def _train_stage(sweep: Sweep, lock: signals.CommandLock) -> None:
    if not sweep.jobs:
        return
    if sweep.is_sweep:
        with defer_interrupts(lock) if sweep.parallel else nullcontext():
            launch(sweep, HydraTask(sweep))
    else:
        run_in_subprocess(sweep.jobs[0], sweep.command)
    for tree, overrides, digest in lock.deferred():  # runs that another command was busy with
        run_in_subprocess(Job(run_from_dict(tree), tuple(overrides), digest), sweep.command)


def without_tasks(sweep: Sweep) -> Sweep:
    """Return what the runs of a sweep are without their tasks, each once."""
    jobs = dict[tuple[str, ...], Job]()
    for job in filter(lambda job: not job.run.base, sweep.jobs):
        overrides = tuple(word for word in job.overrides if not is_task_override(word))
        jobs.setdefault(overrides, Job(base_run(job.run), overrides))
    return replace(sweep, jobs=tuple(jobs.values()), duplicates=())


def missing_bases(sweep: Sweep) -> Sweep:
    """Return the runs that those of a sweep start from and that are not done on the data of now.

    They are trained first, so that no process of a launcher waits for one.
    """
    digests: dict[str, str] = {}

    def is_done(base: Run) -> bool:
        if finished_run(base) is None:
            return False  # its data need not be read
        key = data_key(base)
        if key not in digests:  # those of another machine are not known here
            digests[key] = "" if sweep.remote else current_data_digest(base)
        return finished_run(base, digests[key]) is not None

    bases = {
        run_name(base.run): base
        for job in reversed(sweep.jobs)
        for base in base_jobs(job).values()
        if not is_done(base.run)
    }
    return replace(sweep, jobs=tuple(reversed(bases.values())), duplicates=())


def search(sweep: Sweep) -> list[planning.Conclusion]:
    """Run the trials that the searches of a composed sweep lack; return how each search ended.

    A task is not searched for.
    """
    sweep = without_tasks(sweep)
    for repeat in (0, 1):
        trials = trial_sweep(sweep, repeat)
        if trials.jobs and planning.has_open_searches(sweep.runs):
            train(trials.with_runs(plan(trials.runs)))
    return planning.conclude_searches(sweep.runs)


def trial_sweep(sweep: Sweep, repeat: int = 0) -> Sweep:
    """Return the trials of a composed sweep's searches as a sweep of their own, not planned yet.

    `repeat=1` returns the second runs of the finalists instead.
    """
    overrides = {id(job.run): job.overrides for job in reversed(sweep.jobs)}
    jobs = []
    for searched, trials in search_trials(sweep.runs, repeat):
        kept = [
            override
            for override in overrides[id(searched)]
            if override.partition("=")[0] not in NOT_OF_TRIALS
        ]
        for run in trials:
            own = [f"seed={run.tune.seed + repeat}", f"tune.trial={run.tune.trial}"]
            own += [f"tune.repeat={repeat}"] if repeat else []
            jobs.append(Job(run, (*kept, *own, "control.arch=")))
    return replace(sweep, jobs=tuple(jobs), is_sweep=True, is_enumerated=True, duplicates=())


def end_at_once(number: int, _: object) -> NoReturn:
    """End the command without waiting for what its workers save."""
    processes.kill_children()
    raise KeyboardInterrupt


@contextmanager
def defer_interrupts(lock: signals.CommandLock) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM wait until workers have saved; a second ends the command.

    A cluster that rejects the jobs is a UserError; a dead process of the launcher is logged.
    """
    received: list[BaseException] = []

    def stop(number: int, _: object) -> None:
        interrupt = number == signal.SIGINT
        received.append(KeyboardInterrupt() if interrupt else signals.Terminated(number))
        lock.stop_workers()
        for each in (signal.SIGINT, signal.SIGALRM):
            signal.signal(each, end_at_once)
        signal.alarm(SAVE_SECONDS)

    try:
        with signals.handle_signals(stop, [signal.SIGINT, *signals.TERMINATION_SIGNALS]):
            yield
    except Exception as error:
        if not received:
            _report(error, lock)
    finally:
        signal.alarm(0)
    if received:
        raise received[0]


def _report(error: Exception, lock: signals.CommandLock) -> None:
    if reason := launchers.rejection(error):
        raise UserError(reason, "launcher") from None
    if not launchers.is_worker_death(error):
        raise error
    lock.stop_workers()
    reason = str(error).strip().partition("\n")[0]
    logger.error(
        f"a process of the launcher died ({reason}): the same command goes on with what is not done"
    )
