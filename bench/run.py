"""Train, measure and report: `python -m bench.run …`; --help lists what it takes.

Exit codes: 0 all done or skipped, 1 something failed, 2 a mistake in the command, 130 Ctrl-C,
143 SIGTERM.
"""

import logging
import sys
from pathlib import Path

from bench.cli.command import command
from bench.cli.sweep import Sweep
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.config.task_schema import NO_TASK
from bench.execution import outcome
from bench.execution.reference_lines import has_score, score_baselines, score_checkpoints
from bench.execution.run_command import run_command
from bench.records import store
from bench.system.files import write_error_message

logger = logging.getLogger("bench.run")
STOPPED = (
    "what is finished stays, the same command goes on; "
    "python -m bench.report writes the report of what there is"
)


def run_sweep(sweep: Sweep) -> int:
    """Search where that is requested, train, measure, report."""
    from bench import performance
    from bench.execution.train_sweep import search, train  # not imported for --help
    from bench.planning.planned import plan

    if not sweep.remote and performance.is_session_running():
        logger.info("a measurement runs on this machine: training widens its intervals")
    suite, sweep = sweep.folder, score_checkpoints(sweep)
    if not sweep.jobs:
        return report_checkpoints(suite)
    for conclusion in search(sweep):
        logger.info(conclusion.line)
    sweep = sweep.with_runs(plan(sweep.runs))
    train(sweep)
    return finish(sweep)


def finish(sweep: Sweep) -> int:
    """Measure and report the runs of a sweep, print how each ended, and return the exit code."""
    folders = outcome.run_folders(sweep)
    if not sweep.is_sweep:
        outcome.raise_if_not_started(next(iter(folders)))
    page = None
    try:
        page = measure_and_report(folders, sweep.folder)
    except UserError as error:  # the command was right when the runs began: they are still listed
        logger.error(f"{error} [{error.code}]")
    except OSError as error:
        then = f"python -m bench.report {sweep.folder} writes the report"
        logger.error(write_error_message(error, sweep.folder, then))
    for line in outcome.outcome_lines(sweep):
        print(line)
    if page:
        print(f"report: {page}")
    return int(page is None or not all(map(outcome.is_finished, folders)))


def measure_and_report(folders: dict[Path, Run], suite: Path) -> Path:
    """Measure finished runs, score the baselines of their texts, and write the report."""
    from bench import performance, reporting
    from bench.tasks.finetuning.baselines import score_task_baselines

    finished = [run for folder, run in folders.items() if store.run_status(folder) == "done"]
    done = [run for run in finished if run.task.kind == NO_TASK]
    if done and done[0].measure.depth != "off":
        performance.measure_runs(done, suite, remeasure=False)
    score_task_baselines(run for run in finished if run.task.kind != NO_TASK)
    score_baselines(suite, [run for folder, run in folders.items() if has_score(folder)])
    formats = reporting.chosen_formats(next(iter(folders.values())))
    page, summary = reporting.make_report(suite, figures=formats)
    print(summary)
    return page


def report_checkpoints(suite: Path) -> int:
    """Write the report of a suite to which only checkpoints were added, and return 0."""
    from bench import reporting

    if (suite / "runs").is_dir():
        page, summary = reporting.make_report(suite, figures=reporting.DEFAULT_FORMATS)
        print(summary, f"report: {page}", sep="\n")
    return 0


@command(stopped=STOPPED)
def main(arguments: list[str]) -> int:
    return run_command(arguments, run_sweep)


if __name__ == "__main__":
    sys.exit(main())
