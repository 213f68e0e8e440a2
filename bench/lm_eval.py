r"""Evaluate a finished run with lm-evaluation-harness, on any of its tasks.

  python -m bench.lm_eval --model architecture_bench \
      --model_args run=results/single/runs/RUN --tasks TASK

All arguments are those of lm_eval (extra: lm_eval), which knows no models of other packages: this
command registers one first. Exit codes: those of lm_eval, 2 for a mistake in the command.
"""

import sys
from importlib.util import find_spec

from bench.cli.command import command
from bench.config.errors import UserError


@command(stopped="nothing was recorded")
def main(arguments: list[str]) -> int:
    """Register the model and run lm_eval. Raise UserError where it is not installed."""
    asks_help = bool({"--help", "-h"} & set(arguments))
    if asks_help:
        print((__doc__ or "").strip())
    if find_spec("lm_eval") is None:
        if asks_help:
            return 0
        raise UserError(
            "lm_eval is not installed: pip install 'architecture-bench[lm_eval]'", "missing-package"
        )
    from lm_eval.__main__ import cli_evaluate

    from bench.execution import lm_eval_model  # noqa: F401  # registers itself

    sys.argv = ["lm_eval", *arguments]
    try:
        cli_evaluate()
    except SystemExit as error:  # of its parser
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
