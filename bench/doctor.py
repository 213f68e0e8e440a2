"""`python -m bench.doctor [threads=N] [--quick]`: whether this machine's measurements can be believed, on one page.

Models of known cost are measured as every architecture is, and the figures are held against the truth. A noisy machine is said,
and puts no ruler off. Exit codes: 0 all are right, 1 one is off (the page says which), 2 a mistake in the command, 130 Ctrl-C.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.cli import compose
from bench.cli.command import command
from bench.config.errors import Parser, UserError
from bench.config.identity import workload_id
from bench.config.validation import RANGES
from bench.execution.runner import say
from bench.performance import session
from bench.performance.calibration import checks
from bench.performance.calibration.harness import CalibrationReport
from bench.performance.entry import Entry
from bench.stats.intervals import aa_allows_claims, paired_ratios
from bench.system import host_state

LIMIT_SECONDS = 120.0  # a worker that answers later than this is ended
NOISE_SECONDS = 25.0  # of rounds that the noise floor takes at most
CI_WIDTH = (
    0.005  # rounds end earlier where the ratio of two identical models is known to this share
)
VOCABULARY = 256  # of the models of the noise floor: bytes
STATE_PHRASES = {  # what is said of surroundings.state
    "load": "load over 1, 5 and 15 minutes {}",
    "affinity": "cores of this process {}",
    "clocks_megahertz": "clocks {} MHz",
    "temperature_celsius": "hottest sensor {} °C",
    "governor": "governor {}",
    "large_pages": "large pages {}",
}
CLOCK_NAMES = {"wall": "the clock on the wall", "cpu": "processor time"}


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command asks for. Raises UserError."""
    parser = Parser(
        prog="python -m bench.doctor",
        description="Hold the rulers of this machine against the truth, on one page.",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of the process that is measured (also as threads=N)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out the noise floor, which takes half a minute"
    )
    asked = parser.parse_args(
        [f"--{word}" if word.startswith("threads=") else word for word in arguments]
    )
    low, high = RANGES["threads"]
    if not low <= asked.threads <= high:
        raise UserError(f"threads={asked.threads} is out of range: it takes {low:g} to {high:g}")
    return asked


# --- the page ---------------------------------------------------------------------------------------------------------


def format_section(title: str, lines: Sequence[str]) -> str:
    """A title, and its sentences below it, folded."""
    folded = [
        textwrap.fill(line, 118, initial_indent="  ", subsequent_indent="         ")
        for line in lines
    ]
    return "\n".join([title, *folded, ""])


def calibration_lines(found: CalibrationReport) -> list[str]:
    """One line a ruler."""
    return [
        f"{'OFF  ' if finding.off else 'right'}  {finding.sentence}" for finding in found.findings
    ]


def host_state_lines(state: dict[str, Any]) -> Iterator[str]:
    """The state of the machine in one sentence, and in another one each what it does not tell."""
    told = []
    for key, words in STATE_PHRASES.items():
        value = state[key]
        if isinstance(value, str) and value.startswith("not available"):
            yield f"{words.partition(' {}')[0].capitalize()}: {value}."
        else:
            shown = (
                dict.fromkeys(f"{one:.4g}" for one in value)
                if isinstance(value, list)
                else [str(value)]
            )
            told.append(words.format(", ".join(shown)))
    yield f"{'; '.join(told).capitalize()}."


def noise_floor_lines(threads: int, quick: bool) -> Iterator[str]:
    """What two identical models differ by when they take turns: the least difference in speed that means anything here."""
    if quick:
        yield "Not asked (--quick)."
        return
    run = compose.compose_sweep(["size=tiny", f"threads={threads}"]).runs[0]
    options = replace(
        run.measure,
        rounds=10_000,
        cap_seconds=NOISE_SECONDS,
        narrow=CI_WIDTH,
        limit_seconds=LIMIT_SECONDS,
    )
    table, starts = (
        session.make_entries([run], {workload_id(run): VOCABULARY}, options),
        list[int](),
    )
    try:
        session.measure_rates(table, ["train"], starts, say)
    finally:
        for seat in table:
            seat.stop()
    if any(seat.status != "done" for seat in table):
        yield f"Not known: {next(seat.reason for seat in table if seat.status != 'done')}."
        return
    yield f"Two identical models ({run.names['arch']}, size=tiny) were trained in turns."
    yield from (compare_entries(table, starts, clock) for clock in CLOCK_NAMES)


def compare_entries(table: Sequence[Entry], starts: Sequence[int], clock: str) -> str:
    """What two seats' training steps differ by, on one clock. `starts`: the first round of each process."""
    # by token: each process settles for itself how many steps a window has
    first, second = (
        {
            round_: window[clock] / window["tokens"]
            for round_, window in seat.samples.windows["train"]
        }
        for seat in table
    )
    shared = [round_ for round_ in first if second.get(round_, 0.0) > 0]
    ratios = np.array([first[round_] / second[round_] for round_ in shared])
    ratio = paired_ratios([ratios], [np.searchsorted(starts, shared, side="right").astype(float)])[
        0
    ]
    if ratio is None:
        return f"By {CLOCK_NAMES[clock]} there was not one round that both took part in."
    inside = "inside" if aa_allows_claims(ratio) else "not inside"
    meaning = (
        "differences in speed can be told"
        if aa_allows_claims(ratio)
        else "no claim about speed is made"
    )
    return (
        f"By {CLOCK_NAMES[clock]} one takes {ratio.value:.4f} of the other's time, 95 % interval {ratio.low:.4f} to {ratio.high:.4f} "
        f"over {ratio.rounds} rounds of {len(starts)} processes each: {inside} 0.97 to 1.03, so that {meaning} on this machine "
        "today."
    )


def verdict_line(found: CalibrationReport) -> str:
    """The last line."""
    if not found.off:
        return f"All {len(found.findings)} rulers are right."
    names = ", ".join(finding.name for finding in found.off)
    return f"OFF: {names}. What this harness measures on this machine is not to be believed until that is mended."


def examine(arguments: Sequence[str]) -> int:
    """One command from its words to its exit code. Raises UserError and KeyboardInterrupt."""
    asked = parse_arguments(arguments)
    with session.exclusive_session(say):
        say("doctor: models of known cost are measured")
        found = checks.calibrate(asked.threads, LIMIT_SECONDS, asked.quick)
        print(format_section("The rulers", calibration_lines(found)))
        print(
            format_section(
                "This machine", [*found.sentences, *host_state_lines(host_state.read_host_state())]
            )
        )
        print(
            format_section("The noise floor", list(noise_floor_lines(asked.threads, asked.quick)))
        )
    print(verdict_line(found))
    return int(bool(found.off))


@command(stopped="nothing was recorded")
def main(arguments: Sequence[str]) -> int:
    return examine(arguments)


if __name__ == "__main__":
    sys.exit(main())
