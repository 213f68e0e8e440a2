"""Check this machine's measurements against models of known cost: one page.

  python -m bench.doctor [threads=N] [--quick]

A busy machine is reported and fails no check. Exit codes: 0 all checks passed, 1 one failed (the
page says which), 2 a mistake in the command, 130 Ctrl-C.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from bench.cli.command import command
from bench.config import Parser, UserError
from bench.config.validation import RANGES
from bench.performance.calibration import checks, page
from bench.performance.noise_floor import measure_noise_floor
from bench.performance.session import exclusive_session
from bench.system import host_state

logger = logging.getLogger("bench.doctor")
LIMIT_SECONDS = 120.0  # a worker that answers later is ended


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. Raise UserError."""
    parser = Parser(
        prog="python -m bench.doctor",
        description="Check this machine's measurements against models of known cost.",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the measured process; also threads=N"
    )
    parser.add_argument(
        "--quick", action="store_true", help="skip the noise floor, which takes half a minute"
    )
    flags = [f"--{word}" if word.startswith("threads=") else word for word in arguments]
    args = parser.parse_args(flags)
    low, high = RANGES["threads"]
    if not low <= args.threads <= high:
        raise UserError(
            f"threads={args.threads} is out of range: it takes {low:g} to {high:g}", "invalid-value"
        )
    return args


@command(stopped="nothing was recorded")
def main(arguments: Sequence[str]) -> int:
    """Check, print the page, return the exit code."""
    args = parse_arguments(arguments)
    with exclusive_session():
        logger.info("doctor: measuring models of known cost")
        report = checks.calibrate(args.threads, LIMIT_SECONDS, args.quick)
        print(page.format_section("Reference models", page.result_lines(report)))
        state = page.state_lines(host_state.read_host_state())
        print(page.format_section("This machine", [*report.sentences, *state]))
        noise = ["Skipped (--quick)."] if args.quick else measure_noise_floor(args.threads)
        print(page.format_section("Noise floor", noise))
    print(page.verdict_line(report))
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
