"""One run of a command: in a process of its own, and in its record however it ends."""

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from bench.cli import compose
from bench.cli.console import setup_logging
from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.config.schema import Run, run_from_dict
from bench.execution import torchrun
from bench.records import loading, store
from bench.system import gpus, host, processes, signals
from bench.system.files import write_error_message

CANNOT_START = 2  # exit code of a run that found, before training, that it cannot be
COMMAND = ("python", "-m", "bench.run")

stopped: list[bool] = []  # in a launcher's worker: Ctrl-C came, and no further run is begun


def say(line: str) -> None:
    """One line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def process_name() -> str:
    """Names this process among all of all machines."""
    return f"{platform.node()}:{os.getpid()}"


class HydraTask:
    """What Hydra calls for each run, in whatever process of whatever machine its launcher made.

    It brings along what such a process has to know of the command, and may not have from its launcher.
    """

    def __init__(self) -> None:
        self.folder = os.getcwd()
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key.startswith("BENCH_") or key == "PYTHONPATH"
        }

    def __call__(self, config: DictConfig) -> None:
        os.environ.update(self.environment)
        setup_logging()
        if os.environ.get("BENCH_DOOR") != process_name():
            compose.register()
            signals.exit_with_parent()
        try:
            os.chdir(self.folder)
        except OSError as error:
            say(
                f"error: {self.folder} can not be entered on {platform.node()} ({error.strerror}): start where all machines can"
            )
            return
        run_job(config)


def run_job(config: DictConfig) -> None:
    """One run, from the configuration that Hydra composed."""
    if stopped or signals.command_ended():
        return
    try:
        hydra_config = HydraConfig.get()
        run, overrides = (
            compose.run_from_config(config, hydra_config.runtime.choices),
            list(hydra_config.overrides.task),
        )
        busy = not run_in_subprocess(run, overrides, wait=False)
        if busy and not (
            hydra_config.mode == RunMode.MULTIRUN
            and signals.defer(run_name(run), [asdict(run), overrides])
        ):
            run_in_subprocess(run, overrides)
    except UserError as mistake:
        say(f"error: {mistake} [{mistake.code}]")
    except KeyboardInterrupt:
        if os.environ.get("BENCH_DOOR") == process_name():
            raise
        stopped.append(
            True
        )  # a worker only stops working: what it raised would have the others killed while they save


def run_deferred(left: Iterable[tuple[dict[str, Any], list[str]]]) -> None:
    """To the runs that another command was busy with: it has finished them, or they are run now."""
    for tree, overrides in left:
        run_in_subprocess(run_from_dict(tree), overrides)


def run_in_subprocess(run: Run, overrides: Sequence[str], wait: bool = True) -> bool:
    """Train one run in a process of its own, unless its record is finished. However that ends, it ends in the record.

    False where another command is busy with it, and this one is not to `wait` for its end.
    """
    from filelock import FileLock, Timeout

    name, locks = run_name(run), Path(run.results) / run.suite / "runs" / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / name)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            say(
                f"{name}: another command runs it; {'waiting for its end' if wait else 'back to it at the end'}"
            )
            if not wait:
                return False
            held = lock.acquire()
        with held:
            _train_and_record(run, overrides)
    except OSError as error:
        say(f"{name}: {write_error_message(error, locks.parent)}")
    return True


def _train_and_record(run: Run, overrides: Sequence[str]) -> None:
    if run_name(run) in json.loads(os.environ.get("BENCH_TWICE", "[]")):
        say(f"{run_name(run)}: the same as another run of this command, under another name")
        return
    last = store.attempt_folders(run)[-1]
    folder, needed = store.select_folder(run, float(os.environ.get("BENCH_BEGAN", "inf")))
    if not needed:
        if store.run_status(folder) in ("done", "skipped"):
            store.remove_training_state(folder)
        say(f"{folder.name}: {store.run_status(folder)} before, not run again")
        return
    if store.run_status(last) == loading.UNREADABLE:
        say(f"{last.name}: {status_line(last)}; it stays as it is, and is run again beside it")
    gpus.check_gpu_count(run)  # this may be another machine than the command's
    store.create_record(folder, run, host.environment_record(run.threads), provenance(overrides))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "run.json"
        path.write_text(json.dumps(asdict(run)), encoding="utf-8")
        end = _launch(run, folder, [str(path), str(folder)])
    if end.code == -signal.SIGKILL:
        time.sleep(
            1
        )  # whoever kills everything comes for this process too: then the run is interrupted, and did not fail
    if end.reason and end.code != -signal.SIGTERM:  # asked to stop before it could hear that
        store.write_result(folder, "failed", end.reason)
    elif (
        not end.reason
        and end.code not in (signals.EXIT_STOPPED, processes.EXIT_NOT_RECORDED)
        and store.run_status(folder) == "unfinished"
    ):
        # os._exit in an architecture: nobody heard it, and code 0 alone is no result
        store.write_result(
            folder, "failed", f"its process ended with code {end.code} and left no result"
        )
    if end.code != CANNOT_START:  # that one is said at the end, once
        say(f"{folder.name}: {status_line(folder)}")


def _launch(run: Run, folder: Path, cell: list[str]) -> processes.ProcessResult:
    """The end of the process, or of the several, that train a run."""
    limit = run.train.limit_seconds
    if torchrun.is_active():
        seen = torchrun.announce_run(run, folder)
        end = processes.run_module(
            ["bench.execution.worker", *cell],
            run.threads,
            limit,
            folder.name,
            environment=seen,
        )
        return end._replace(reason=torchrun.death_reason(seen, end.reason)) if end.reason else end
    command = ["bench.execution.worker", *cell]
    with gpus.reserve_gpus(run) as seen:
        return processes.run_module(command, run.threads, limit, folder.name, run.train.ranks, seen)


def status_line(folder: Path) -> str:
    """How a run stands, with its reason where there is one."""
    reason = store.read_result(folder)["reason"]
    return store.run_status(folder) + (f": {reason}" if reason else "")


def rerun_command_of(run: Run) -> str:
    """The command that runs a run again which is not done."""
    alone = loading.load_record(store.attempt_folders(run)[-1]).provenance.get("rerun")
    return alone or rerun_command(command_arguments())  # nothing could be written of it


def rerun_command(given: Sequence[str]) -> str:
    """The command of some words, to run again what is not done."""
    return shlex.join(
        [*COMMAND, *(word for word in given if not word.startswith("again=")), "again=failed"]
    )


def command_arguments() -> list[str]:
    """The words of the command that was given."""
    return list(json.loads(os.environ.get("BENCH_WORDS", "[]")))


def provenance(overrides: Sequence[str]) -> dict[str, Any]:
    """Which sources and which command a record comes from, and the command that runs this one run again."""
    here = Path(__file__).parents[2]
    return {
        "git": {
            "commit": _git(here, "rev-parse", "HEAD"),
            "dirty": bool(_git(here, "status", "--porcelain")),
        },
        "command": shlex.join([*COMMAND, *command_arguments()]),
        "rerun": rerun_command([*json.loads(os.environ.get("BENCH_FLAGS", "[]")), *overrides]),
    }


def _git(folder: Path, *arguments: str) -> str:
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
