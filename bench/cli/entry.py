"""Run a command by its name: `architecture-bench run …` is `python -m bench.run …`."""

import sys
from importlib import import_module
from pathlib import Path

from bench.cli.command import command
from bench.config.errors import UserError, nearest

COMMANDS = sorted(path.stem for path in Path(__file__).parents[1].glob("[!_]*.py"))
USAGE = f"""architecture-bench COMMAND …, the same as python -m bench.COMMAND …

Commands: {", ".join(COMMANDS)}; each has --help."""


@command(stopped="nothing was begun", usage=USAGE)
def explain(arguments: list[str]) -> int:
    """Raise UserError: the first argument names no command."""
    name = next(iter(arguments), "nothing")
    raise UserError(f"{name} is not a command; {nearest(name, COMMANDS)}", "invalid-command")


def main() -> int:
    """Run the command that the first argument names; return its exit code."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        return int(explain([name]))
    return int(import_module(f"bench.{name}").main(arguments))
