"""A random search for each architecture's learning rate: equally many trials, on text that no reported run is scored on.

  python -m bench.tune arch=rnn,gpt tune.trials=8 -m                  as long as the runs, which python -m bench.run then trains
  python -m bench.tune suite=default tune.trials=6 tune.steps=400     shorter trials, for the default suite

Every key of python -m bench.run (its --help lists them) means the same here; python -m bench.run with tune.trials searches by
itself where it has to. Trials are runs like any others, under results/<suite>/tune/runs, and what they found lies in
results/<suite>/tune/searches. Exit codes: 0 all searched, 1 some trial has no result, 2 a mistake in what was asked, 130 Ctrl-C.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import run
from bench.cli import compose
from bench.config.errors import UserError


def main() -> int:
    """The door with its doormat: whatever a user did wrong is one line."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    return run.main(search)


def search(asked: compose.Sweep, words: Sequence[str]) -> int:
    """Search, write the report, and say what was found."""
    from bench import reporting

    if not asked.runs[0].tune.trials:
        raise UserError(
            "tune.trials=0 searches nothing: say how many trials each architecture gets, as in tune.trials=8"
        )
    lines = run.search(asked, words)
    page, _ = reporting.make_report(Path(asked.runs[0].results) / asked.runs[0].suite)
    print("\n".join([*lines, f"report: {page}"]))
    return int(any("the search is not finished" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
