"""Measure speed, memory and decoding of architectures on this machine, without training them.

  python -m bench.measure arch=rnn,transformer -m               the first is the reference
  python -m bench.measure arch=rnn,transformer measure=full -m  with curves over context
  python -m bench.measure arch=gpt size.context=1024 threads=2  one, against itself

It takes the keys of python -m bench.run (its --help lists them), and measures each time. Records
are in results/<suite>/measure, the report in results/<suite>/report. Exit codes: 0 all measured,
1 one failed, 2 a mistake in the command, 130 Ctrl-C.
"""

import sys

from bench.cli.command import command
from bench.cli.compose import compose_sweep
from bench.config.errors import UserError
from bench.execution.preflight import check_decoding
from bench.planning.planned import plan
from bench.records import store
from bench.system import files


@command(
    stopped="the same command measures again; python -m bench.report writes the report so far",
    usage=__doc__,
)
def main(arguments: list[str]) -> int:
    """Measure, write the report, and print what failed."""
    sweep = compose_sweep(arguments)
    runs = plan(sweep.runs, keep=False)
    if runs[0].measure.depth == "off":
        raise UserError("measure=off measures nothing: use measure=quick or full", "invalid-value")
    files.check_writable(sweep.folder / "measure")
    check_decoding(runs)
    from bench import reporting
    from bench.performance import measure_runs

    folder = measure_runs(runs, sweep.folder)
    assert folder is not None
    page, summary = reporting.make_report(sweep.folder, figures=reporting.chosen_formats(runs[0]))
    print(summary)
    failed = False
    for path in folder.glob("*/result.json"):
        result = store.read_json(path) or {}
        failed |= result.get("status") == "failed"
        if result.get("status") != "done":
            print(f"{path.parent.name}: {result.get('status')}: {result.get('reason')}")
    print(f"records: {folder}\nreport: {page}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
