"""Evaluate finished runs with lm-evaluation-harness, which finds no models of other packages."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from bench.config.errors import UserError


def run_lm_eval(arguments: Sequence[str]) -> int:
    """Register the model `architecture_bench`, run lm_eval with its own arguments; its exit code.

    Raise UserError where it is not installed.
    """
    if find_spec("lm_eval") is None:
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
