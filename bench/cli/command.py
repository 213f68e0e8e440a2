"""Frame every command: logging, signals, exit codes and the one line about what went wrong."""

import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cli.console import setup_logging, tolerant_output
from bench.config.errors import UserError, nearest
from bench.system import exits, host, signals

logger = logging.getLogger(__name__)
Main = Callable[[list[str]], int]
INFORMATION = ("-h", "--h", "--v")  # help and version: after these a parser exits


def command(stopped: str, usage: str | None = None) -> Callable[[Main], Callable[..., int]]:
    """Turn a function of arguments that returns an exit code into a command's `main`.

    A UserError is one line and exit code 2, Ctrl-C 130, SIGTERM 143; these print `stopped`, which
    says what is left. `usage` is what --help prints, where neither argparse nor Hydra does.
    """

    def decorate(function: Main) -> Callable[..., int]:
        @functools.wraps(function)
        def main(arguments: Sequence[str] | None = None) -> int:
            given = sys.argv[1:] if arguments is None else list(arguments)
            os.environ["HYDRA_FULL_ERROR"] = "1"  # it raises, in place of printing and exiting
            setup_logging()
            try:
                host.check_process_limits()
                with tolerant_output():
                    if usage is not None and {"--help", "-h"} & set(given):
                        print(usage.strip())
                        return 0
                    return _call(function, given)
            except UserError as error:
                logger.error("%s [%s]", error, error.code)
                return 2
            except KeyboardInterrupt as error:
                logger.info("stopped: %s", stopped)
                number = error.number if isinstance(error, signals.Terminated) else signal.SIGINT
                return 128 + number

        return main

    return decorate


def split_options(
    arguments: Sequence[str], keys: Sequence[str], of: str
) -> tuple[list[Path], dict[str, str]]:
    """Return the folders of a command, and its options key=value. Raise UserError for another."""
    folders = [Path(argument) for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for key in options:
        if key not in keys:
            raise UserError(f"{key} is not a key of {of}; {nearest(key, keys)}", "unknown-key")
    return folders, options


def _call(function: Main, arguments: list[str]) -> int:
    """Call a command; log an exit that neither it nor a parser of its arguments decided on."""
    try:
        with (
            exits.refuse_exits(),
            signals.handle_signals(signals.raise_terminated, signals.TERMINATION_SIGNALS),
        ):
            return function(arguments)
    except SystemExit as error:
        if not isinstance(error, exits.ForcedExit) and any(
            word.startswith(INFORMATION) for word in arguments
        ):
            raise
        call = "os._exit" if isinstance(error, exits.ForcedExit) else "sys.exit"
        logger.error(
            f"code of an architecture called {call}({error.code}), and ended the command: "
            "remove that call [invalid-architecture]"
        )
        return 1
