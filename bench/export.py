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
from typing import Any

from bench.cli.command import command, split_options
from bench.config.errors import UserError, nearest

FORMAT_FOLDER = Path(__file__).parent / "execution" / "formats"
FORMATS = sorted(path.stem for path in FORMAT_FOLDER.glob("[!_]*.py"))
KEYS = ("to", "into", "license")


def parse_arguments(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the name of a format, and the arguments of its `export`. Raises UserError."""
    runs, options = split_options(arguments, KEYS, "an export")
    if len(runs) != 1 or "to" not in options:
        raise UserError(
            "name one run and a format: python -m bench.export results/<suite>/runs/<run> "
            f"to={FORMATS[0]}",
            "invalid-command",
        )
    if options["to"] not in FORMATS:
        raise UserError(f"to={options['to']}: {nearest(options['to'], FORMATS)}", "unknown-choice")
    into = Path(options.get("into") or runs[0] / "export" / options["to"])
    licence = options.get("license", "unknown")
    return options["to"], {"folder": runs[0], "into": into, "licence": licence}


@command(stopped="the same command writes it again", usage=__doc__)
def main(arguments: list[str]) -> int:
    """Write the export, and say what it is."""
    name, options = parse_arguments(arguments)
    print(import_module(f"bench.execution.formats.{name}").export(**options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
