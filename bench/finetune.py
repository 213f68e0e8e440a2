"""Fine-tune finished runs for a task, with and without their pre-training.

  python -m bench.finetune results/default task=order                    every finished run
  python -m bench.finetune results/default task=order,facts task.examples=100,1000,0
  python -m bench.finetune results/default/runs/RUN task=labels task.path=reviews.csv
  python -m bench.finetune results/default task=answers task.path=pairs.jsonl

conf/task/*.yaml are the tasks, and --config-dir adds your own; the keys of task are in
docs/reference.md. Both arms are trained, task.start=pretrained,scratch, unless one is named.
Records are in results/<suite>/tasks. Exit codes: 0 all done or skipped, 1 something failed, 2 a
mistake in the command.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli.command import command
from bench.cli.overrides import quoted
from bench.cli.sweep import split_flags
from bench.config.errors import UserError
from bench.execution.run_command import run_command
from bench.records.finished import finished_runs
from bench.run import STOPPED, run_sweep

ARMS = "task.start=pretrained,scratch"


def sweep_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of bench.run that fine-tune the finished runs of folders.

    Raise UserError where no folder or no task is named, or a folder has no finished run.
    """
    command_line = split_flags(arguments)
    folders = [Path(word) for word in command_line.overrides if "=" not in word]
    overrides = [word for word in command_line.overrides if "=" in word]
    if not folders:
        raise UserError(
            "name what to fine-tune: results/<suite> for all finished runs, or "
            "results/<suite>/runs/<run>",
            "invalid-command",
        )
    keys = {word.partition("=")[0] for word in overrides}
    if "task" not in keys:
        raise UserError(
            "name a task, as in task=order; conf/task/*.yaml lists them", "invalid-command"
        )
    runs = dict.fromkeys(run for folder in folders for run in finished_runs(folder))
    own = [f"base={','.join(map(quoted, runs))}"]
    own += [] if "task.start" in keys else [ARMS]
    flags = [flag for flag in command_line.flags if flag not in ("-m", "--multirun")]
    return [*flags, "-m", *own, *overrides]


@command(stopped=STOPPED, usage=__doc__)
def main(arguments: list[str]) -> int:
    return run_command(sweep_arguments(arguments), run_sweep)


if __name__ == "__main__":
    sys.exit(main())
