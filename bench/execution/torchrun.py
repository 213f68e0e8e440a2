"""Under torchrun, on one machine or several: rank 0's command is the command, and the others train with it what it trains."""

import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.config.errors import UserError
from bench.config.identity import run_name
from bench.config.schema import Run, run_from_dict
from bench.system import processes
from bench.system.host import RENDEZVOUS

_numbers: Iterator[int] = itertools.count()  # of what rank 0 left on the board
_dismissed: list[bool] = []


def is_active() -> bool:
    """Whether this command was started by torchrun, once for each rank."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_follower() -> bool:
    """Whether this command is one that trains what rank 0's trains."""
    return is_active() and os.environ["RANK"] != "0"


def with_ranks(overrides: list[str]) -> list[str]:
    """The overrides of a command with the number of its ranks. Raises UserError where they say another one."""
    word = f"train.ranks={os.environ['WORLD_SIZE']}"
    given = [override for override in overrides if override.partition("=")[0] == "train.ranks"]
    if given and given != [word]:
        raise UserError(
            f"{given[0]}: torchrun started {os.environ['WORLD_SIZE']} ranks: leave it out, or give that many"
        )
    return [*overrides, *([] if given else [word])]


def check_launcher(workers: bool) -> None:
    """Raise UserError where a launcher would start processes that torchrun knows nothing of."""
    if workers:
        raise UserError(
            "under torchrun runs are trained one after another, each by all ranks: add hydra/launcher=basic"
        )


def announce_run(run: Run, folder: Path) -> dict[str, str]:
    """Have all ranks train a run; the environment of the process by which this one does."""
    number = str(next(_numbers))
    _board().set(f"bench/{number}", json.dumps([asdict(run), str(folder.resolve())]))
    return {RENDEZVOUS: f"torchrun:{number}"}


def death_reason(seen: dict[str, str], reason: str) -> str:
    """Why a run's training ended, given how it looked from here: what a rank that died said of itself."""
    key = f"bench/{seen[RENDEZVOUS].partition(':')[2]}/death"
    return _board().get(key).decode() if _board().check([key]) else reason


def dismiss_followers() -> None:
    """Let the other ranks end: there is no further run."""
    if is_active() and not is_follower() and not _dismissed:
        _dismissed.append(True)
        _board().set(f"bench/{next(_numbers)}", "null")


def follow(say: Callable[[str], None]) -> int:
    """Train what rank 0 trains, run after run, until it has no more; the exit code."""
    for number in _numbers:
        called = json.loads(_board().get(f"bench/{number}"))
        if called is None:
            break
        run, folder = run_from_dict(called[0]), called[1]
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "run.json"
            path.write_text(json.dumps(called[0]), encoding="utf-8")
            more = {RENDEZVOUS: f"torchrun:{number}"}
            end = processes.run_module(
                ["bench.execution.worker", str(path), folder],
                run.threads,
                run.train.limit_seconds,
                run_name(run),
                environment=more,
            )
        if end.reason:
            said = f"rank {os.environ['RANK']} on {platform.node()} {end.reason}"
            say(said)
            _board().set(f"bench/{number}/death", said)
            time.sleep(
                processes.GRACE_SECONDS
            )  # in which rank 0 may notice and write it down; else torchrun ends it
            return 1
    return 0


def _board() -> Any:
    from bench.training import torchrun_store

    return torchrun_store()
