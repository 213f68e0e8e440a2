"""Speed, memory and decoding of architectures on this machine, in turns, without training them.

  python -m bench.measure arch=rnn,transformer -m                the first is the reference, and is entered twice
  python -m bench.measure arch=rnn,transformer measure=full -m   with all curves over context length
  python -m bench.measure arch=gpt size.context=1024 threads=2   one, against itself

Every key of python -m bench.run (its --help lists them) means the same here. It measures each time that it is called; records
lie under results/<suite>/measure, the report under results/<suite>/report. Exit codes: 0 all measured, 1 one of them failed,
2 a mistake in what was asked, 130 Ctrl-C.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cli import compose
from bench.cli.command import command
from bench.config.errors import UserError
from bench.records import store
from bench.system import files


def measure(arguments: Sequence[str]) -> int:
    """One command from its words to its exit code. Raises UserError and KeyboardInterrupt."""
    from bench import reporting
    from bench.performance import measure_runs

    flags, overrides = compose.split_flags(arguments)
    asked = compose.compose_sweep([*flags, *overrides])
    run = asked.runs[0]
    if run.measure.depth == "off":
        raise UserError("measure=off measures nothing: use measure=quick or measure=full")
    root = Path(run.results) / run.suite
    files.check_writable(root / "measure")
    folder = measure_runs(asked.runs, root)
    assert folder is not None
    page, summary = reporting.make_report(root)
    print(summary)
    results = {
        path.parent.name: store.read_json(path) or {} for path in folder.glob("*/result.json")
    }
    for name, result in results.items():
        if result.get("status") != "done":
            print(f"{name}: {result.get('status')}: {result.get('reason')}")
    print(f"records: {folder}\nreport: {page}")
    return int(any(result.get("status") == "failed" for result in results.values()))


@command(
    stopped="the same command measures again; python -m bench.report writes the report of what there is",
    usage=__doc__,
)
def main(arguments: Sequence[str]) -> int:
    return measure(arguments)


if __name__ == "__main__":
    sys.exit(main())
