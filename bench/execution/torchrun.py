"""Run a command under torchrun: rank 0 runs it, and the other ranks train what it trains."""

import itertools
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.schema import Run, run_from_dict
from bench.system import processes
from bench.system.host import RENDEZVOUS

logger = logging.getLogger(__name__)

_numbers: Iterator[int] = itertools.count()  # of the messages of rank 0, in torchrun's store
_dismissed: list[bool] = []


def is_active() -> bool:
    """Return whether torchrun started this command, once for each rank."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_follower() -> bool:
    """Return whether this command trains what rank 0 trains."""
    return is_active() and os.environ["RANK"] != "0"


def with_ranks(arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments with the number of its ranks. Raises UserError."""
    if not is_active():
        return list(arguments)
    override = f"train.ranks={os.environ['WORLD_SIZE']}"
    given = [argument for argument in arguments if argument.startswith("train.ranks=")]
    if given and given != [override]:
        ranks = os.environ["WORLD_SIZE"]
        message = f"{given[0]}: torchrun started {ranks} ranks: leave it out, or give that many"
        raise UserError(message, "conflicting-values")
    return [*arguments, *([] if given else [override])]


def check_launcher(parallel: bool) -> None:
    """Raise UserError if a launcher would start processes that torchrun does not know."""
    if is_active() and parallel:
        raise UserError(
            "under torchrun runs are trained one after another, each by all ranks: "
            "add hydra/launcher=basic",
            "launcher",
        )


def announce_run(run: Run, folder: Path) -> dict[str, str]:
    """Have all ranks train a run; return the environment of this rank's worker."""
    number = str(next(_numbers))
    _store().set(f"bench/{number}", json.dumps([asdict(run), str(folder.resolve())]))
    return {RENDEZVOUS: f"torchrun:{number}"}


def run_worker(
    run: Run, folder: Path, ranks: int = 1, environment: Mapping[str, str] | None = None
) -> processes.ProcessResult:
    """Run the process, or the ranks on this machine, that train a run, and wait for the end."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "run.json"
        path.write_text(json.dumps(asdict(run)), encoding="utf-8")
        call = ["bench.execution.worker", str(path), str(folder)]
        limit = run.train.limit_seconds
        return processes.run_module(call, run.threads, limit, folder.name, ranks, environment)


def death_reason(rendezvous: dict[str, str], reason: str) -> str:
    """Return why a run's training ended: what a rank that died reported, or else `reason`."""
    key = f"bench/{rendezvous[RENDEZVOUS].partition(':')[2]}/death"
    return _store().get(key).decode() if _store().check([key]) else reason


def dismiss_followers() -> None:
    """Let the other ranks end: there is no further run."""
    if is_active() and not is_follower() and not _dismissed:
        _dismissed.append(True)
        _store().set(f"bench/{next(_numbers)}", "null")


def follow() -> int:
    """Train what rank 0 trains, run after run, until it has no more; return the exit code."""
    for number in _numbers:
        message = json.loads(_store().get(f"bench/{number}"))
        if message is None:
            break
        tree, folder = message
        rendezvous = {RENDEZVOUS: f"torchrun:{number}"}
        result = run_worker(run_from_dict(tree), Path(folder), environment=rendezvous)
        if result.reason:
            reason = f"rank {os.environ['RANK']} on {platform.node()} {result.reason}"
            logger.info(reason)
            _store().set(f"bench/{number}/death", reason)
            time.sleep(processes.GRACE_SECONDS)  # for rank 0 to record it before torchrun ends
            return 1
    return 0


def _store() -> Any:
    from bench.training import torchrun_store

    return torchrun_store()
