"""Check the whole contract on an architecture and print a table of the results.

  python -m bench.check arch=mine
  python -m bench.check --config-dir my_conf arch=mine arch.layers=3
  python -m bench.check arch=rnn,gpt                   several
  python -m bench.check 'arch=glob(*)' --keep          all; --keep stores the results for the report

Models are tiny: seconds per architecture. All keys of python -m bench.run mean the same here;
results= and suite= name the folder of --keep (results/<suite>/checks). The same checks as a test of
your own: see bench/model/contract/__init__.py.
Exit codes: 0 all checks passed, 1 one failed, 2 a mistake in the command, 130 Ctrl-C.
"""

import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from bench.cli import compose, sweep
from bench.cli.command import command
from bench.config.identity import architecture_id
from bench.config.schema import Run
from bench.records import contract_results

if TYPE_CHECKING:
    from bench.model.contract import CheckResult

COLUMNS = {"": 10, "check": 11, "action": 27, "expected": 27, "observed": 40}  # title -> width
STATUS_LABELS = {"passed": "passed", "failed": "FAILED", "skipped": "skipped"}


def compose_architectures(arguments: Sequence[str]) -> list[Run]:
    """Return one run per architecture to check. Raise UserError."""
    multirun = [] if set(sweep.MULTIRUN) & set(arguments) else ["--multirun"]
    runs = compose.compose_sweep([*multirun, *arguments]).runs
    return sweep.distinct(runs, lambda run: architecture_id(run.arch))


def format_row(cells: Sequence[str]) -> str:
    """Return one row of the table, each cell wrapped to its column."""
    widths = COLUMNS.values()
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for parts in zip_longest(*columns, fillvalue=""):
        padded = [part.ljust(width) for part, width in zip(parts, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def format_table(results: Sequence["CheckResult"]) -> str:
    """Return a row per check; below a failed one how to fix it."""
    rows = [format_row(list(COLUMNS)), "  ".join("-" * width for width in COLUMNS.values())]
    for result in results:
        check, status = result.check, STATUS_LABELS[result.status]
        cells = (status, check.name, check.action, check.expected, result.observed)
        rows.append(format_row(cells))
        if result.status == "failed":
            lines = textwrap.wrap(f"to fix it: {check.fix}", 98)
            rows.append(textwrap.indent("\n".join(lines), " " * 12))
    return "\n".join(rows)


def summary_line(results: Sequence["CheckResult"]) -> str:
    """Return the last line of a table."""
    names = {
        status: [r.check.name for r in results if r.status == status] for status in STATUS_LABELS
    }
    passed, skipped = len(names["passed"]), len(names["skipped"])
    others = f", {skipped} skipped" if skipped else ""
    if names["failed"]:
        return f"FAILED: {', '.join(names['failed'])}; {passed} passed{others}"
    return f"all {passed} checks passed{others}"


def check_architecture(run: Run, keep: bool) -> bool:
    """Print the results of all checks; return whether one failed. Raise ModelBuildError."""
    from bench.model.contract import CHECKS, ModelUnderTest, run_check

    name, model = run.names["arch"], ModelUnderTest(run.arch, training_length=run.size.context)
    results = [run_check(check, model) for check in CHECKS]
    print(
        f"{name}: {run.arch['_target_']}, width {model.width}, {model.parameters:,} parameters\n\n"
        f"{format_table(results)}\n\n{name}: {summary_line(results)}"
    )
    if keep:
        rows = [{"name": r.check.name, "status": r.status, "came": r.observed} for r in results]
        print(f"stored in {contract_results.write_contract_results(run, rows)}\n")
    print(flush=True)
    return any(result.status == "failed" for result in results)


@command(stopped="checks without --keep store nothing", usage=__doc__)
def main(arguments: list[str]) -> int:
    """Check each architecture; exit code 1 if one fails."""
    runs = compose_architectures([word for word in arguments if word != "--keep"])
    import torch

    from bench.model import ModelBuildError

    torch.set_num_threads(runs[0].threads)
    failed = []
    for run in runs:
        try:
            failed += [run.names["arch"]] if check_architecture(run, "--keep" in arguments) else []
        except ModelBuildError as error:
            if len(runs) == 1:
                raise
            failed.append(run.names["arch"])
            print(f"{run.names['arch']}: cannot be checked: {error}\n", flush=True)
    if len(runs) > 1:
        outcome = f"{len(failed)} failed: {', '.join(failed)}" if failed else "all passed"
        print(f"{len(runs)} architectures: {outcome}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
