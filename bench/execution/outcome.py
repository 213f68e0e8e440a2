"""State how the runs of a sweep ended. Imports no torch."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.cli.sweep import Sweep
from bench.config.errors import REASONS, UserError
from bench.config.schema import Run
from bench.execution.provenance import rerun_command, rerun_command_of, status_line
from bench.records import store


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
