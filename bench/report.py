"""`python -m bench.report RESULTS`: make the report of a suite, or of every suite below a folder, again."""

import sys
from pathlib import Path

from bench.config.errors import Parser, UserError
from bench.reporting import find_suites, make_report


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line where there is nothing to read or no place to write."""
    parser = Parser(
        prog="python -m bench.report", description="Make the report of a results folder again."
    )
    parser.add_argument(
        "results", type=Path, help="results/<suite>, or results/ for every suite below it"
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="target=…",
        help="bits per byte: what it takes to reach them is told",
    )
    try:
        chosen = parser.parse_args(arguments)
        from bench.analysis import time_to_target  # late: --help answers at once

        target = time_to_target.parse_target(chosen.words)
        for suite in find_suites(chosen.results):
            page, text = make_report(suite, target)
            print(text, f"\nreport: {page}", sep="\n")
    except UserError as mistake:
        print(f"error: {mistake} [{mistake.code}]", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
