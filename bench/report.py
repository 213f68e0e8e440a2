"""`python -m bench.report RESULTS`: write the report of a suite, or of every suite in a folder."""

import sys
from pathlib import Path

from bench.cli.command import command
from bench.config.errors import Parser


def parser() -> Parser:
    """Return the parser of the command line."""
    made = Parser(
        prog="python -m bench.report", description="Write the report of a results folder."
    )
    made.add_argument(
        "results", type=Path, help="results/<suite>, or results/ for every suite in it"
    )
    made.add_argument(
        "options",
        nargs="*",
        metavar="target=… figures=… csv.safe=…",
        help="target: bits per byte, the report says what it takes to reach them; figures: their "
        "formats, of svg (the default), pdf and png with commas between them, or none; "
        "csv.safe=true: a quote mark before text that a spreadsheet would take for a formula",
    )
    return made


@command(stopped="the same command writes the report")
def main(arguments: list[str]) -> int:
    """Write the reports, and print their summaries."""
    args = parser().parse_args(arguments)
    from bench import reporting
    from bench.analysis import time_to_target

    chosen = [word for word in args.options if word.startswith(reporting.FIGURES_KEY)]
    safe = [word for word in args.options if word.startswith(reporting.SAFE_KEY)]
    others = [word for word in args.options if word not in (*chosen, *safe)]
    target = time_to_target.parse_target(others)
    formats, safe_csv = reporting.parse_figures(chosen), reporting.parse_safe(safe)
    for suite in reporting.find_suites(args.results):
        page, text = reporting.make_report(suite, target, formats, safe_csv)
        print(text, f"\nreport: {page}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
