"""Learn from preferences: reward models and policies behind finished runs, and people's labels.

  python -m bench.preferences results/default                       behind every finished run
  python -m bench.preferences results/default preference.path=mine.jsonl preference=human
  python -m bench.preferences label RUN --out mine.jsonl [--page]   compare texts, also on a page
  python -m bench.preferences check mine.jsonl                      what a file of labels is worth

Runs are not trained again. Further arguments are overrides of preference.*, threads and again.
Exit codes: 0 done, 1 something failed, 2 a mistake in the command.
"""

import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.cli.command import command
from bench.cli.overrides import quoted
from bench.cli.sweep import Sweep
from bench.config.errors import Parser, UserError

STOPPED = "what is finished stays, the same command goes on"


def learn(arguments: list[str]) -> int:
    """Run the stage behind the finished runs that the arguments name."""
    from bench.execution.run_command import run_command
    from bench.records.finished import finished_runs

    folders = [Path(word) for word in arguments if "=" not in word]
    overrides = [word for word in arguments if "=" in word]
    if not folders:
        raise UserError("name a run: results/<suite>/runs/<run>, or <suite>", "invalid-command")
    runs = [path for folder in folders for path in finished_runs(folder)]
    suites = {run.resolve().parent.parent for run in runs}
    if len(suites) > 1:
        raise UserError("the runs are of several suites: give a command each", "invalid-command")
    if not any(word.startswith("preference=") for word in overrides):
        overrides.append("preference=quick")
    bases = f"base={','.join(map(quoted, runs))}"
    return run_command([bases, *overrides, "-m"], partial(learn_beside, suites.pop()))


def learn_beside(suite: Path, sweep: Sweep) -> int:
    """Run a sweep of stages into the suite of the runs that they start from."""
    from bench import reporting
    from bench.execution import outcome
    from bench.execution.train_sweep import train

    results, name = str(suite.parent), suite.name
    sweep = sweep.with_runs([replace(run, results=results, suite=name) for run in sweep.runs])
    train(sweep)
    page, summary = reporting.make_report(suite)
    print(*outcome.outcome_lines(sweep), summary, f"\nreport: {page}", sep="\n")
    return int(not all(map(outcome.is_finished, outcome.run_folders(sweep))))


def label(arguments: list[str]) -> int:
    """Have a person compare pairs of responses in the terminal, or on a page."""
    made = Parser(prog="python -m bench.preferences label", description="Compare two texts.")
    made.add_argument("run", help="folder of a finished run, whose model writes the pairs")
    made.add_argument("--out", type=Path, required=True, help="file (.jsonl) that labels go to")
    made.add_argument("--count", type=int, default=20, help="labels to give (default 20)")
    made.add_argument("--annotator", default="me", help="who gives them (default me)")
    made.add_argument("--active", action="store_true", help="ask for the most informative pair")
    made.add_argument("--page", action="store_true", help="show a page in place of the terminal")
    args = made.parse_args(arguments)
    from bench.tasks.preferences import label_page, labelling
    from bench.training import load

    session = labelling.Labelling(load(args.run), args.out, args.annotator, args.active)
    session.check()
    with label_page.serve() if args.page else nullcontext(ask_in_terminal) as ask:
        number = len([*labelling.label_pairs(session, ask, args.count)])
    print(f"{number} answers; {len(session.given())} in {args.out}")
    return 0


def ask_in_terminal(prompt: str, first: str, second: str) -> str:
    """Show a pair, and return one of the answers."""
    from bench.tasks.preferences import labelling

    print(f"\n{prompt}\n  1 | {first!r}\n  2 | {second!r}")
    while True:
        try:
            answer = input(labelling.QUESTION).strip().lower()
        except EOFError:
            return labelling.QUIT
        if answer in labelling.ANSWERS:
            return answer


def check(arguments: list[str]) -> int:
    """Print what a file of labels is worth."""
    from bench.tasks.preferences import label_facts, people

    made = Parser(prog="python -m bench.preferences check", description="Check a file of labels.")
    made.add_argument("file", type=Path, help="labels (.jsonl)")
    facts = label_facts.describe_labels(people.read_labels(made.parse_args(arguments).file))
    warnings = [f"warning: {line}" for line in label_facts.label_warnings(facts)]
    print(*label_facts.fact_lines(facts), *warnings, sep="\n")
    return 0


SUBCOMMANDS = {"label": label, "check": check}


@command(stopped=STOPPED, usage=__doc__)
def main(arguments: list[str]) -> int:
    """Run the subcommand that is named first, or the stage behind finished runs."""
    if not arguments:
        print((__doc__ or "").strip())
        return 0
    subcommand = SUBCOMMANDS.get(arguments[0])
    return subcommand(arguments[1:]) if subcommand else learn(arguments)


if __name__ == "__main__":
    sys.exit(main())
