"""The whole contract on an architecture, as a table: what was done, what was expected, what came, and how to mend it.

  python -m bench.check arch=mine
  python -m bench.check --config-dir my_conf arch=mine arch.layers=3
  python -m bench.check arch=rnn,gpt                   several
  python -m bench.check 'arch=glob(*)' --keep          every one; --keep stores what was found, for the report's cards

Sizes are tiny: seconds an architecture. Every key of python -m bench.run means the same here; results= and suite= say where
--keep writes (results/<suite>/checks). The same checks in a test of your own: see bench/contract/__init__.py.
Exit codes: 0 every promise is kept, 1 one is broken, 2 a mistake in what was asked, 130 Ctrl-C.
"""

import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from bench.cli import compose
from bench.cli.command import command
from bench.config.identity import architecture_id
from bench.config.schema import Run
from bench.records import contract_results

if TYPE_CHECKING:
    from bench.contract import CheckResult, ModelUnderTest

WIDTHS = (10, 11, 27, 27, 40)  # letters of the columns
TITLES = ("", "promise", "what was done", "what was expected", "what came")
STATUS_LABELS = {"holds": "holds", "broken": "BROKEN", "not asked": "not asked"}


def compose_architectures(arguments: Sequence[str]) -> list[Run]:
    """The runs whose architectures are to be checked, each once. Raises UserError."""
    flags, overrides = compose.split_flags(arguments)
    several = [] if {"-m", "--multirun"} & set(flags) else ["--multirun"]
    runs = compose.compose_sweep([*flags, *several, *overrides]).runs
    return compose.distinct(runs, lambda run: architecture_id(run.arch))


# --- the table --------------------------------------------------------------------------------------------------------


def format_row(cells: Sequence[str]) -> str:
    """One row of the table, its cells folded into their columns."""
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, WIDTHS, strict=True)]
    lines = zip_longest(*columns, fillvalue="")
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, WIDTHS, strict=True)).rstrip()
        for line in lines
    )


def format_table(findings: Sequence["CheckResult"]) -> str:
    """A row a promise; a broken one with the advice below it."""
    rows = [format_row(TITLES), "  ".join("-" * width for width in WIDTHS)]
    for finding in findings:
        check = finding.check
        rows.append(
            format_row(
                (
                    STATUS_LABELS[finding.status],
                    check.name,
                    check.done,
                    check.expected,
                    finding.observed,
                )
            )
        )
        if finding.status == "broken":
            rows.append(
                textwrap.fill(
                    f"to mend it: {check.fix}",
                    110,
                    initial_indent=" " * 12,
                    subsequent_indent=" " * 12,
                )
            )
    return "\n".join(rows)


def summary_line(findings: Sequence["CheckResult"]) -> str:
    """The last line of a table."""
    broken = [finding.check.name for finding in findings if finding.status == "broken"]
    kept = sum(finding.status == "holds" for finding in findings)
    left = len(findings) - kept - len(broken)
    aside = f", {left} not asked" if left else ""
    return (
        f"BROKEN: {', '.join(broken)}; {kept} hold{aside}"
        if broken
        else f"all {kept} promises hold{aside}"
    )


# --- checking ---------------------------------------------------------------------------------------------------------


def check_architecture(run: Run) -> tuple["ModelUnderTest", list["CheckResult"]]:
    """Every promise of the contract on one architecture. Raises CannotBuild."""
    from bench.contract import CHECKS, ModelUnderTest, run_check

    subject = ModelUnderTest(run.arch)
    return subject, [run_check(check, subject) for check in CHECKS]


def run_checks(arguments: Sequence[str]) -> int:
    """One command from its words to its exit code. Raises UserError and KeyboardInterrupt."""
    keeps = "--keep" in arguments
    runs = compose_architectures([argument for argument in arguments if argument != "--keep"])
    import torch

    from bench.model import ModelBuildError

    torch.set_num_threads(runs[0].threads)
    wrong = []
    for run in runs:
        name = run.names["arch"]
        try:
            subject, findings = check_architecture(run)
        except ModelBuildError as error:
            if len(runs) == 1:
                raise
            wrong.append(name)
            print(f"{name}: can not be checked: {error}\n", flush=True)
            continue
        print(
            f"{name}: {run.arch['_target_']} at width {subject.width}, for {subject.parameters:,} parameters\n"
        )
        print(f"{format_table(findings)}\n\n{name}: {summary_line(findings)}")
        told = [{"name": f.check.name, "status": f.status, "came": f.observed} for f in findings]
        print(
            f"kept in {contract_results.write_contract_results(run, told)}\n" if keeps else "",
            flush=True,
        )
        wrong += [name] if any(finding.status == "broken" for finding in findings) else []
    if len(runs) > 1:
        print(
            f"{len(runs)} architectures: "
            + (f"{len(wrong)} not sound: {', '.join(wrong)}" if wrong else "all are sound")
        )
    return int(bool(wrong))


@command(stopped="the architectures above are checked", usage=__doc__)
def main(arguments: Sequence[str]) -> int:
    return run_checks(arguments)


if __name__ == "__main__":
    sys.exit(main())
