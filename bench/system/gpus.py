"""CUDA devices handed out to runs, where a machine has several: each is one run's alone. Imports no torch."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.system import host

POLL_SECONDS = 0.5  # between two looks at whether a device has become free


def check_gpu_count(run: Run) -> None:
    """Raise UserError where a run asks for more devices than this machine shows."""
    there, wanted = (
        len(host.visible_gpus()),
        int(os.environ.get("LOCAL_WORLD_SIZE", run.train.ranks)),
    )  # under torchrun: here
    if run.train.device != "cpu" and 0 < there < wanted:
        fewer = f"use train.ranks={there}, train.device=cpu, or several machines (docs/scaling.md)"
        raise UserError(
            f"train.ranks={wanted}: this machine shows {there} CUDA device{'s' * (there > 1)}: {fewer}"
        )


@contextlib.contextmanager
def reserve_gpus(run: Run, say: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """As many free devices as a run has ranks, for as long as this lasts: the environment of a process that sees no others.

    Waits until they are free. Empty where there is nothing to choose.
    """
    known = host.visible_gpus()
    if run.train.device == "cpu" or len(known) < 2 or run.train.ranks > len(known):
        yield {}
        return
    with contextlib.ExitStack() as stack:
        while len(chosen := _lock_free_gpus(known, run.train.ranks, stack)) < run.train.ranks:
            say(f"waiting for {run.train.ranks} of {len(known)} CUDA devices to be free")
            say = _silent
            time.sleep(POLL_SECONDS)
        yield {"CUDA_VISIBLE_DEVICES": ",".join(chosen)}


def _lock_free_gpus(known: tuple[str, ...], count: int, stack: contextlib.ExitStack) -> list[str]:
    """The first `count` devices that nobody holds, held until the stack ends; fewer, and none held, where fewer are free."""
    from filelock import FileLock, Timeout

    chosen = []
    with contextlib.ExitStack() as trial:
        for device in known:
            path = (
                Path(tempfile.gettempdir())
                / f"architecture-bench-device-{device.replace('/', '_')}.lock"
            )
            try:
                trial.enter_context(FileLock(path, timeout=0, mode=0o666))
            except Timeout:
                continue
            except PermissionError:
                pass  # it belongs to somebody else: who holds it can not be known
            chosen.append(device)
            if len(chosen) == count:
                stack.push(trial.pop_all())
                return chosen
    return chosen


def _silent(line: str) -> None:
    """It was said before."""
