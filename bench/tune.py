"""Search learning rates at random: equal trials for all, on text that no run is scored on.

  python -m bench.tune arch=rnn,gpt tune.trials=8 -m                  trials as long as the runs
  python -m bench.tune suite=default tune.trials=16 tune.finalists=3  the best 3 once more, seed + 1
  python -m bench.tune suite=default tune.trials=6 tune.steps=400     shorter trials

It takes the keys of python -m bench.run (its --help lists them), which searches by itself where
tune.trials asks for it. Trials are runs, in results/<suite>/tune/runs; the results of searches are
in results/<suite>/tune/searches. Exit codes: 0 all searched, 1 a search has no result, 2 a mistake
in the command, 130 Ctrl-C.
"""

import sys

from bench.cli.command import command
from bench.cli.sweep import Sweep
from bench.config.errors import UserError
from bench.execution.run_command import run_command
from bench.execution.train_sweep import search
from bench.run import STOPPED


def search_and_report(sweep: Sweep) -> int:
    """Search, write the report, and print what was found."""
    if not sweep.runs[0].tune.trials:
        raise UserError(
            "tune.trials=0 searches nothing: give the trials of each architecture, tune.trials=8",
            "invalid-value",
        )
    searches = search(sweep)
    from bench import reporting

    page, _ = reporting.make_report(sweep.folder, figures=reporting.chosen_formats(sweep.runs[0]))
    print("\n".join([*(one.line for one in searches), f"report: {page}"]))
    return int(not all(one.has_result for one in searches))


@command(stopped=STOPPED, usage=__doc__)
def main(arguments: list[str]) -> int:
    return run_command(arguments, search_and_report)


if __name__ == "__main__":
    sys.exit(main())
