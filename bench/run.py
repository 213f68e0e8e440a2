"""The door: `python -m bench.run …`. Reads the command, trains each run alone, measures, reports.

Exit codes: 0 all done or skipped, 1 something failed, 2 a mistake in what was asked, 130 Ctrl-C.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bench import command, machine, record
from bench.config import Mistake, Run, run_name, subject

CANNOT_START = 2  # exit code of a run that found, before training, that it cannot be
COMMAND = ("python", "-m", "bench.run")
LOOK_ONLY = ("--help", "-h", "--cfg", "-c", "--info", "-i", "--hydra-help", "--version", "--shell-completion", "-sc")

stopped: list[bool] = []  # in a launcher's worker: Ctrl-C came, and no further run is begun

command.register()


def say(line: str) -> None:
    """One line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


# --- one run ----------------------------------------------------------------------------------------------------------


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
    from filelock import FileLock

    from bench import launch

    name, locks = run_name(run), Path(run.results) / run.suite / "runs" / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / name):  # another command on the same folder waits here, and then finds the run finished
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


# --- the whole command ------------------------------------------------------------------------------------------------


@hydra.main(version_base="1.3", config_path=str(command.conf_folder()), config_name="config")
def by_hydra(config: DictConfig) -> None:
    """Hydra's own way in: its help, its sweeper and its launchers."""
    task(config)


@contextmanager
def patient() -> Iterator[None]:
    """While workers run, the first Ctrl-C waits until they have saved what they have; a second one, or 30 seconds, ends them."""
    heard: list[int] = []

    def hear(number: int, _: object) -> None:
        heard.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(30)

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception:
        if not heard:
            raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt


def prepare(asked: command.Command) -> None:
    """All that can be found wrong before any long work: folders, options, texts. Raises Mistake."""
    from bench import data, model

    record.check_writable(Path(asked.runs[0].results))
    for run in _distinct(asked.runs, lambda run: run.arch):
        try:
            model.constructor(run.arch)
        except model.CannotBuild:
            if not asked.sweep:
                raise  # in a sweep it is this cell's own fault, and goes into its record
    for run in _distinct(asked.runs, lambda run: asdict(run.data)):
        data.prepare(run.data, run.names["data"], say)


def _distinct(runs: Sequence[Run], key: Any) -> list[Run]:
    return list({json.dumps(key(run), sort_keys=True, default=str): run for run in reversed(runs)}.values())[::-1]


def finish(asked: command.Command) -> int:
    """After the runs: measure what was asked for, write the report, say how each run ended, and answer with an exit code."""
    from bench import data, measure, report

    root = Path(asked.runs[0].results) / asked.runs[0].suite
    folders = {record.attempts(run)[-1]: run for run in asked.runs}
    if not asked.sweep:
        refuse(next(iter(folders)))
    done = [run for folder, run in folders.items() if record.status(folder) == "done"]
    wanted = list({subject(run): run for run in reversed(done)}.values())[::-1]
    if wanted and wanted[0].measure.depth != "off" and measure.needed(wanted, root, wanted[0].measure):
        vocabularies = {subject(run): data.prepare(run.data, run.names["data"]).vocabulary.size for run in wanted}
        measure.sit(wanted, vocabularies, root, wanted[0].measure, say)
    page, summary = report.make(root)
    print(summary)
    for folder in folders:
        if record.status(folder) != "done":
            print(f"{folder.name}: {outcome(folder)}")
    print(f"report: {page}")
    return int(any(record.status(folder) not in ("done", "skipped") for folder in folders))


def refuse(folder: Path) -> None:
    """Raise Mistake where a single run could not start; its record, which holds no more than that, goes."""
    result = record.read_json(folder / "result.json") or {}
    if result.get("facts", {}).get("started") is False:
        shutil.rmtree(folder)
        raise Mistake(result["reason"])


def door(arguments: Sequence[str]) -> int:
    """One command from its words to its exit code. Raises Mistake and KeyboardInterrupt."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if any(argument.partition("=")[0] in LOOK_ONLY for argument in arguments):
        with command.plain_words():
            by_hydra()
        return 0
    asked = command.expand(arguments)
    # what every job has to know of the whole command, in whatever process its launcher starts it
    flags, overrides = command.in_order(arguments)
    os.environ["BENCH_DOOR"] = str(os.getpid())
    os.environ["BENCH_THREADS"] = str(asked.runs[0].threads)
    os.environ["BENCH_WORDS"] = json.dumps([*flags, *overrides])
    os.environ["BENCH_FLAGS"] = json.dumps([flag for flag in flags if flag not in ("-m", "--multirun")])
    if asked.runs[0].dry:
        from bench import forecast

        print(forecast.table(asked.runs))
        return 0
    prepare(asked)
    with patient() if asked.workers else nullcontext():
        by_hydra()
    return finish(asked)


def main() -> int:
    """The door with its doormat: whatever a user did wrong is one line."""
    try:
        flags, overrides = command.in_order(sys.argv[1:])
        sys.argv[1:] = [*flags, *overrides]
        return door(sys.argv[1:])
    except Mistake as mistake:
        say(f"error: {mistake}")
        return 2
    except KeyboardInterrupt:
        say("stopped: what is finished stays, the same command goes on; python -m bench.report makes the report of what there is")
        return 130


if __name__ == "__main__":
    sys.exit(main())
