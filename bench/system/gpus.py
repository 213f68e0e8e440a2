"""Assign CUDA devices to runs: each device serves one run at a time."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.config.errors import UserError
from bench.config.schema import Run
from bench.system import host, locks

if TYPE_CHECKING:
    from filelock import FileLock

POLL_SECONDS = 0.5  # between attempts to lock devices
logger = logging.getLogger(__name__)


def check_gpu_count(run: Run) -> None:
    """Raise UserError where a run needs more devices than this machine has."""
    available = len(host.visible_gpus())
    # under torchrun the ranks of this machine alone
    needed = int(os.environ.get("LOCAL_WORLD_SIZE", run.train.ranks))
    if run.train.device != "cpu" and 0 < available < needed:
        raise UserError(
            f"train.ranks={needed}, and this machine has CUDA devices: {available}. Use "
            f"train.ranks={available}, train.device=cpu, or several machines (docs/scaling.md)",
            "unavailable-device",
        )


@contextlib.contextmanager
def reserve_gpus(run: Run) -> Iterator[dict[str, str]]:
    """Reserve one free device per rank, waiting for them; yield the environment of the workers.

    It restricts them to these devices. It is empty on the CPU and where there is no choice.
    """
    devices, needed = host.visible_gpus(), run.train.ranks
    if run.train.device == "cpu" or len(devices) < 2 or needed > len(devices):
        yield {}
        return
    with contextlib.ExitStack() as held:
        level = logging.INFO
        while len(reserved := _lock_free_gpus(devices, needed, held)) < needed:
            name = f"{run.names.get('arch', '?')}, seed {run.seed}"
            holders = "; ".join(locks.describe_holder(_gpu_lock(device)) for device in devices)
            message = "%s: waiting for %d of %d GPUs, of which some are held by %s"
            logger.log(level, message, name, needed, len(devices), holders)
            level = logging.DEBUG
            time.sleep(POLL_SECONDS)
        yield {"CUDA_VISIBLE_DEVICES": ",".join(reserved)}


def _gpu_lock(device: str) -> "FileLock":
    return locks.machine_lock(f"device-{device}")


def _lock_free_gpus(devices: Sequence[str], count: int, held: contextlib.ExitStack) -> list[str]:
    """Lock the first `count` free devices until `held` closes; lock none where fewer are free."""
    from filelock import Timeout

    free = []
    with contextlib.ExitStack() as attempt:
        for device in devices:
            lock = _gpu_lock(device)
            try:
                attempt.enter_context(lock.acquire(timeout=0))
            except Timeout:
                continue
            locks.write_holder(lock)
            free.append(device)
            if len(free) == count:
                held.push(attempt.pop_all())
                break
    return free
