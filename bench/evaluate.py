"""Score finished runs again, by another protocol, without training them.

  python -m bench.evaluate results/single/runs/RUN evaluate.protocol=stride     overlapping windows
  python -m bench.evaluate results/default evaluate.protocol=stride evaluate.stride=16  all runs
  python -m bench.evaluate results/default evaluate.protocol=stateful  the state is carried

Scores are recorded in RUN/evaluations/<protocol>-<digest8>, and computed once. The report is
written again; it never ranks across protocols. Exit codes: 0 done, 2 a mistake in the command.

  python -m bench.evaluate lm_eval --model architecture_bench --model_args run=RUN --tasks TASK

runs lm-evaluation-harness (extra: lm_eval) with its own arguments, and its own exit codes.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli.command import command, split_options
from bench.config.errors import UserError

logger = logging.getLogger("bench.evaluate")
KEYS = ("evaluate.protocol", "evaluate.stride", "threads")


def parse_arguments(arguments: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Return the folders and the overrides of a command. Raises UserError."""
    folders, overrides = split_options(arguments, KEYS, "an evaluation")
    for key, value in overrides.items():
        if key != "evaluate.protocol" and not value.isdecimal():
            raise UserError(f"{key}={value} must be a whole number", "invalid-value")
    if not folders:
        raise UserError(
            "name a run: results/<suite>/runs/<run>, or results/<suite> for all that are finished",
            "invalid-command",
        )
    return folders, overrides


@command(stopped="the same command scores what is left", usage=__doc__)
def main(arguments: list[str]) -> int:
    if not arguments:
        print((__doc__ or "").strip())
        return 0
    if arguments[0] == "lm_eval":
        from bench.execution.lm_eval import run_lm_eval

        return run_lm_eval(arguments[1:])
    folders, overrides = parse_arguments(arguments)
    from bench import reporting
    from bench.evaluation import rescoring
    from bench.records.finished import finished_runs

    runs = {
        path: rescoring.rescored_config(path, overrides)
        for folder in folders
        for path in finished_runs(folder)
    }
    for folder, run in runs.items():
        logger.info(f"{folder.name}: {rescoring.rescore(folder, run)}")
    for suite in dict.fromkeys(folder.resolve().parent.parent for folder in runs):
        print(f"report: {reporting.make_report(suite, figures=reporting.DEFAULT_FORMATS)[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
