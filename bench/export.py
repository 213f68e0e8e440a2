"""Export a trained run for other tools.

  python -m bench.export results/single/runs/RUN to=huggingface              RUN/export/huggingface
  python -m bench.export results/single/runs/RUN to=huggingface into=FOLDER license=mit
  python -m bench.export results/single/runs/RUN to=mlflow|tensorboard|wandb     for a tracker

Where transformers has a model that computes the same, it is written in that form and its logits
are compared; else the weights as safetensors, with a tokenizer. Trackers get configuration, curve
and scores, offline. Every export has a model card. Exit codes: 0 done, 2 a mistake in the command.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from bench.cli.command import command
from bench.config.errors import UserError, nearest

FORMAT_FOLDER = Path(__file__).parent / "execution" / "formats"
FORMATS = sorted(path.stem for path in FORMAT_FOLDER.glob("[!_]*.py"))
KEYS = ("to", "into", "license")


class Request(NamedTuple):
    """What a command asks for."""

    run: Path
    format: str
    into: Path
    licence: str


def parse_arguments(arguments: Sequence[str]) -> Request:
    """Return what a command asks for. Raises UserError."""
    runs = [Path(argument) for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for key in options:
        if key not in KEYS:
            raise UserError(f"{key} is not a key of an export; {nearest(key, KEYS)}", "unknown-key")
    if len(runs) != 1 or "to" not in options:
        raise UserError(
            "name one run and a format: python -m bench.export results/<suite>/runs/<run> "
            f"to={FORMATS[0]}",
            "invalid-command",
        )
    if options["to"] not in FORMATS:
        raise UserError(f"to={options['to']}: {nearest(options['to'], FORMATS)}", "unknown-choice")
    into = options.get("into") or runs[0] / "export" / options["to"]
    return Request(runs[0], options["to"], Path(into), options.get("license", "unknown"))


@command(stopped="the same command writes it again", usage=__doc__)
def main(arguments: list[str]) -> int:
    """Write the export, and say what it is."""
    request = parse_arguments(arguments)
    into = request.into
    form = import_module(f"bench.execution.formats.{request.format}")
    print(form.export(request.run, into, request.licence))
    return 0


if __name__ == "__main__":
    sys.exit(main())
