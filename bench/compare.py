"""Compare two results folders, as a gate for changes of code or of packages.

  python -m bench.compare OLD NEW                            everything that both folders hold
  python -m bench.compare OLD NEW fail=quality,memory        only these kinds can fail
  python -m bench.compare OLD NEW fail=speed threshold=0.02  slower by more than 2 % is a regression

OLD and NEW are results/<suite>. Runs with the same configuration are paired by variant, seed and
document; speeds are compared within one machine, as ratios to an architecture that both measured.
threshold.quality is in bits per byte, threshold.speed and threshold.memory are shares (0, 0 and
0.001 by default); threshold= is that of the one kind in fail=. A regression is a change for the
worse beyond the threshold that the intervals show, corrected for all rows.

Writes NEW/report/compare.html and compare.csv. Exit codes: 0 no regression is shown, 1 a
regression is shown, 2 the folders cannot be compared, or a mistake in the command.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli.command import command, split_options
from bench.config.errors import UserError, nearest

KINDS = ("quality", "speed", "memory")
KEYS = ("fail", "threshold", *(f"threshold.{kind}" for kind in KINDS))


def parse_arguments(
    arguments: Sequence[str],
) -> tuple[list[Path], tuple[str, ...], dict[str, float]]:
    """Return both folders, the kinds that can fail, and the thresholds. Raises UserError."""
    folders, options = split_options(arguments, KEYS, "a comparison")
    if len(folders) != 2:
        raise UserError(
            "give two folders, results/<suite> of the old and of the new version: see python -m "
            "bench.compare --help",
            "invalid-command",
        )
    if folders[0].resolve() == folders[1].resolve():
        raise UserError(f"{folders[0]} and {folders[1]} are the same folder", "invalid-command")
    fail = tuple(filter(None, options.pop("fail", "").split(",")))
    for kind in fail:
        if kind not in KINDS:
            raise UserError(f"fail={kind}: {nearest(kind, KINDS)}", "unknown-choice")
    return folders, fail, _parse_thresholds(options, fail)


def _parse_thresholds(options: dict[str, str], fail: tuple[str, ...]) -> dict[str, float]:
    thresholds = {}
    for key, text in options.items():
        kind = key.partition(".")[2]
        if not kind and len(fail) != 1:
            raise UserError(
                f"threshold={text} needs one kind in fail=, as units differ: give fail=speed, or "
                f"threshold.speed={text}",
                "conflicting-values",
            )
        try:
            thresholds[kind or fail[0]] = value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1:
            raise UserError(
                f"{key}={text} must be a number from 0 to below 1, as 0.02", "invalid-value"
            )
    return thresholds


@command(stopped="the same command compares again", usage=__doc__)
def main(arguments: list[str]) -> int:
    """Write the comparison, print it, and return 1 where a regression is shown."""
    folders, fail, thresholds = parse_arguments(arguments)
    from bench import reporting

    result = reporting.compare_suites(folders[0], folders[1], fail, thresholds)
    print(result.text, f"\npage: {result.page}", sep="\n")
    return int(result.failed)


if __name__ == "__main__":
    sys.exit(main())
