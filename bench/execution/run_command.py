"""Compose a command line, and do with its sweep what a command does. Imports no torch."""

from collections.abc import Callable, Sequence

from bench.cli.compose import compose_sweep
from bench.cli.launch import inspect_configuration, inspects_configuration
from bench.cli.sweep import Sweep
from bench.execution import torchrun


def run_command(arguments: Sequence[str], action: Callable[[Sweep], int]) -> int:
    """Call `action` with the composed sweep of a command line; return the exit code.

    `dry=true` prints a forecast in its place; --help, --cfg and their like are Hydra's to answer.
    Under torchrun rank 0 does so, and the other ranks train what it trains. Raises UserError.
    """
    if torchrun.is_follower():
        return torchrun.follow()
    try:
        if inspects_configuration(arguments):
            inspect_configuration(arguments)
            return 0
        sweep = compose_sweep(torchrun.with_ranks(arguments))
        torchrun.check_launcher(sweep.parallel)
        if not sweep.runs[0].dry:
            return action(sweep)
        from bench.execution.dry_run import forecast

        print(forecast(sweep))
        return 0
    finally:
        torchrun.dismiss_followers()
