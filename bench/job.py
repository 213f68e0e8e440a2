"""One run of a command: in a process of its own, and in its record however it ends."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bench import command, launch, machine, record
from bench.config import Mistake, Run
from bench.identity import run_name

CANNOT_START = 2  # exit code of a run that found, before training, that it cannot be
COMMAND = ("python", "-m", "bench.run")

stopped: list[bool] = []  # in a launcher's worker: Ctrl-C came, and no further run is begun


def say(line: str) -> None:
    """One line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def task(config: DictConfig) -> None:
    """What Hydra calls for each run, in whatever process its launcher made."""
    if stopped:
        return
    try:
        hydra_config = HydraConfig.get()
        train_alone(command.resolve(config, hydra_config.runtime.choices), hydra_config.overrides.task)
    except Mistake as mistake:
        say(f"error: {mistake}")
    except KeyboardInterrupt:
        if os.environ.get("BENCH_DOOR") == str(os.getpid()):
            raise
        stopped.append(True)  # a worker only stops working: what it raised would have the others killed while they save


def train_alone(run: Run, overrides: Sequence[str]) -> None:
    """Train one run in a process of its own, unless its record is finished. However that ends, it ends in the record."""
    from filelock import FileLock, Timeout

    name, locks = run_name(run), Path(run.results) / run.suite / "runs" / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / name)  # another command on the same folder waits here, and then finds the run finished
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{name}: another command runs it; waiting for its end")
        lock.acquire()
    with lock:
        folder, needed = record.wanted(run)
        if not needed:
            say(f"{folder.name}: {record.status(folder)} before, not run again")
            return
        record.begin(folder, run, machine.environment(run.threads), provenance(overrides))
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "run.json"
            path.write_text(json.dumps(asdict(run)), encoding="utf-8")
            end = launch.alone("bench.cell", [str(path), str(folder)], run.threads, run.train.limit_seconds, folder.name)
        if end.reason:
            record.finish(folder, "failed", end.reason)
        if end.code != CANNOT_START:  # that one is said at the end, once
            say(f"{folder.name}: {outcome(folder)}")


def outcome(folder: Path) -> str:
    """How a run stands, with its reason where there is one."""
    result = record.read_json(folder / "result.json") or {"reason": ""}
    return f"{record.status(folder)}" + (f": {result['reason']}" if result["reason"] else "")


def provenance(overrides: Sequence[str]) -> dict[str, Any]:
    """Which sources and which command a record comes from, and the command that runs this one run again."""
    here = Path(__file__).parent.parent
    return {
        "digests": {"source": record.training_source()},
        "git": {"commit": _git(here, "rev-parse", "HEAD"), "dirty": bool(_git(here, "status", "--porcelain"))},
        "command": shlex.join([*COMMAND, *json.loads(os.environ.get("BENCH_WORDS", "[]"))]),
        "rerun": shlex.join([*COMMAND, *json.loads(os.environ.get("BENCH_FLAGS", "[]")), *overrides, "again=failed"]),
    }


def _git(folder: Path, *arguments: str) -> str:
    try:
        found = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
