"""State where a record comes from, and the command that runs it again."""

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.cli.sweep import MULTIRUN, CommandLine, Job
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
