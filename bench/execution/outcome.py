"""State where a record comes from, how its run ended, and the command that runs it again."""

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.cli.sweep import MULTIRUN, CommandLine, Job, Sweep
from bench.config.errors import REASONS, UserError
from bench.config.schema import Run
from bench.records import loading, store

COMMAND = ("python", "-m", "bench.run")


def collect_provenance(job: Job, command: CommandLine) -> dict[str, Any]:
    """Return commit and command of a record, and the command that repeats the run."""
    folder = Path(__file__).parents[2]
    flags = [flag for flag in command.flags if flag not in MULTIRUN]
    return {
        "git": {
            "commit": _git(folder, "rev-parse", "HEAD"),
            "dirty": bool(_git(folder, "status", "--porcelain")),
        },
        "command": shlex.join([*COMMAND, *command.arguments]),
        "rerun": rerun_command([*flags, *job.overrides]),
    }


def _git(folder: Path, *arguments: str) -> str:
    call = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def rerun_command(arguments: Iterable[str]) -> str:
    """Return the command that runs again what is not done of these arguments."""
    kept = [argument for argument in arguments if not argument.startswith("again=")]
    return shlex.join([*COMMAND, *kept, "again=failed"])


def rerun_command_of(run: Run, command: CommandLine) -> str:
    """Return the command that runs a run again, by its record if that could be written."""
    provenance = loading.load_record(store.attempt_folders(run)[-1]).provenance
    return str(provenance.get("rerun") or rerun_command(command.arguments))


def status_line(folder: Path) -> str:
    """Return the status of a run, with its reason if there is one."""
    reason = store.read_result(folder)["reason"]
    return store.run_status(folder) + (f": {reason}" if reason else "")


def run_folders(sweep: Sweep) -> dict[Path, Run]:
    """Return the runs by the folders of their last attempts."""
    return {store.attempt_folders(run)[-1]: run for run in sweep.runs}


def raise_if_not_started(folder: Path) -> None:
    """Raise UserError for a run that could not start; remove a record that holds nothing else."""
    result = store.read_result(folder)
    if result["facts"].get("started") is not False:
        return
    if (folder / "checkpoint").exists():
        (folder / "result.json").unlink()
    else:
        shutil.rmtree(folder)
    code = result["facts"].get("code", "")
    raise UserError(result["reason"], code if code in REASONS else "invalid-value")


def outcome_lines(sweep: Sweep) -> Iterator[str]:
    """Yield what was skipped, and what is not done, with its reason and the command to rerun it."""
    folders = run_folders(sweep)
    undone = [folder for folder in folders if not is_finished(folder)]
    for folder, run in folders.items():
        if store.run_status(folder) != "done":
            yield f"{folder.name}: {status_line(folder)}"
        if folder in undone:
            yield f"  again: {rerun_command_of(run, sweep.command)}"
    if len(undone) > 1:
        again = rerun_command(sweep.command.arguments)
        yield f"{len(undone)} of {len(folders)} runs are not done; all of them again: {again}"


def is_finished(folder: Path) -> bool:
    """Return whether a run is done or skipped."""
    return store.run_status(folder) in ("done", "skipped")
