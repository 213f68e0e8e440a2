"""The door: `python -m bench.run …`. Reads the command, trains each run alone, measures, reports.

Exit codes: 0 all done or skipped, 1 something failed, 2 a mistake in what was asked, 130 Ctrl-C, 143 SIGTERM.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra

from bench import planning
from bench.cli import compose, hydra_errors, launchers
from bench.cli.console import setup_logging
from bench.config.errors import UserError
from bench.config.schema import Run
from bench.execution import runner, torchrun
from bench.execution.runner import say
from bench.planning import budget
from bench.records import store
from bench.system import files, gpus, host, signals

LOOK_ONLY = (
    "--help",
    "-h",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--hydra-help",
    "--version",
    "--shell-completion",
    "-sc",
)

compose.register()


def run_hydra() -> None:
    """Hydra's own way in: its help, its sweeper and its launchers."""
    hydra.main(version_base="1.3", config_path=str(compose.conf_folder()), config_name="config")(
        runner.HydraTask()
    )()


@contextmanager
def defer_interrupts(here: signals.CommandLock) -> Iterator[None]:
    """While workers run, the first Ctrl-C or SIGTERM waits until they have saved; a second, or 30 seconds, end it."""
    heard: list[BaseException] = []

    def hear(number: int, _: object) -> None:
        heard.append(KeyboardInterrupt() if number == signal.SIGINT else signals.Terminated(number))
        here.stop_workers()
        for each in (signal.SIGINT, signal.SIGALRM):
            signal.signal(each, signal.default_int_handler)
        signal.alarm(30)

    try:
        with signals.handle_signals(hear, [signal.SIGINT, *signals.TERMINATION_SIGNALS]):
            yield
    except Exception as error:
        if not heard and (said := launchers.rejection(error)):
            raise UserError(said) from None
        if not heard and not launchers.is_worker_death(error):
            raise
        if not heard:
            here.stop_workers()
            why = str(error).strip().partition("\n")[0]
            say(
                f"error: a process of the launcher died ({why}): the same command goes on with what is not done"
            )
    finally:
        signal.alarm(0)
    if heard:
        raise heard[0]


def preflight(asked: compose.Sweep) -> None:
    """All that can be found wrong before any long work: folders, options, texts. Raises UserError."""
    folder = Path(asked.runs[0].results) / asked.runs[0].suite / "runs"
    files.check_writable(folder)
    files.check_file_locks(folder)
    files.check_free_space(folder, required_disk_bytes(asked))
    validate(asked)


def validate(asked: compose.Sweep) -> None:
    """All that can be found wrong without writing: devices, options, texts. Raises UserError."""
    from bench import data, model

    for run in asked.runs if not asked.remote else ():
        gpus.check_gpu_count(run)
    for run in _distinct(asked.runs, lambda run: run.arch):
        try:
            model.backbone_class(run.arch)
        except model.ModelBuildError:
            if not asked.sweep:
                raise  # in a sweep it is this cell's own fault, and goes into its record
    for run in _distinct(asked.runs, lambda run: asdict(run.data)):
        data.prepare(run.data, run.names["data"])


def required_disk_bytes(asked: compose.Sweep) -> int:
    """Bytes that the runs of a command still write at most: weights of each, and the training states of those under way.

    A training state is the weights with up to two numbers of the optimizer's each; three lie on the disk while one is written.
    """
    open_runs = [
        run
        for run in asked.runs
        if store.run_status(store.attempt_folders(run)[-1]) not in ("done", "skipped")
    ]
    sizes = sorted((4 * run.size.parameters for run in open_runs), reverse=True)
    at_once = host.parallel_jobs(asked.runs[0].threads) if asked.workers else 1
    return sum(sizes) + 9 * sum(sizes[:at_once])


def _distinct(runs: Sequence[Run], key: Any) -> list[Run]:
    return compose.distinct(runs, lambda run: json.dumps(key(run), sort_keys=True, default=str))


def finish(asked: compose.Sweep) -> int:
    """After the runs: measure what was asked for, write the report, say how each run ended, and answer with an exit code."""
    from bench import performance, reporting

    root = Path(asked.runs[0].results) / asked.runs[0].suite
    folders = {store.attempt_folders(run)[-1]: run for run in asked.runs}
    if not asked.sweep:
        raise_if_not_started(next(iter(folders)))
    done = [run for folder, run in folders.items() if store.run_status(folder) == "done"]
    page = None
    try:
        if done and done[0].measure.depth != "off":
            performance.measure_runs(done, root, remeasure=False)
        score_baselines(root, [run for folder, run in folders.items() if scored(folder)])
        page, summary = reporting.make_report(root)
        print(summary)
    except (
        UserError
    ) as mistake:  # what was asked for was right when the runs began: their outcome is still said
        say(f"error: {mistake} [{mistake.code}]")
    except OSError as error:
        say(
            f"error: {files.write_error_message(error, root, f'python -m bench.report {root} makes the report')}"
        )
    undone = [
        run
        for folder, run in folders.items()
        if store.run_status(folder) not in ("done", "skipped")
    ]
    for line in left_over(folders, undone):
        print(line)
    if page:
        print(f"report: {page}")
    return int(bool(undone) or page is None)


def left_over(folders: Mapping[Path, Run], undone: Sequence[Run]) -> Iterator[str]:
    """What was skipped, and what was not done with its reason and the command that runs it again."""
    for folder, run in folders.items():
        if store.run_status(folder) != "done":
            yield f"{folder.name}: {runner.status_line(folder)}"
        if run in undone:
            yield f"  again: {runner.rerun_command_of(run)}"
    if len(undone) > 1:
        yield f"{len(undone)} of {len(folders)} runs are not done; all of them again: {runner.rerun_command(runner.command_arguments())}"


def scored(folder: Path) -> bool:
    """Whether a run has a score that reference lines may stand beside."""
    return any(metric["name"] == "bits_per_byte" for metric in store.read_result(folder)["metrics"])


def score_baselines(root: Path, runs: Sequence[Run]) -> None:
    """What needs no architecture reaches on the texts of these runs, once for each text and context."""
    from bench import data
    from bench.evaluation import baselines

    for run in _distinct(runs, lambda run: [asdict(run.data), run.size.context]):
        baselines.ensure_baselines(
            root, data.prepare(run.data, run.names["data"]), run.size.context, say
        )


def raise_if_not_started(folder: Path) -> None:
    """Raise UserError where a single run could not start; its record goes where it holds no more than that."""
    result = store.read_result(folder)
    if result["facts"].get("started") is False:
        if (folder / "checkpoint").exists():
            (folder / "result.json").unlink()
        else:
            shutil.rmtree(folder)
        raise UserError(result["reason"])


def run_sweep(asked: compose.Sweep, words: Sequence[str]) -> int:
    """Search where that is asked for, train, measure, report."""
    if found := search(asked, words):
        say("\n".join(found))
        asked = compose.compose_sweep(words)
        asked = asked._replace(runs=budget.plan_runs(asked.runs))
    train(asked, words, asked.control)
    torchrun.dismiss_followers()
    return finish(asked)


def train(asked: compose.Sweep, words: Sequence[str], control: Sequence[str] = ()) -> None:
    """Run what a command asks for through Hydra, then its A/A control where it has one. Raises UserError before any long work."""
    from bench import performance

    preflight(asked)
    if not asked.remote and performance.is_session_running():
        say("a measurement runs on this machine: training beside it makes its intervals wider")
    with signals.hold_command_lock(asked.remote) as here:
        for sweep in (
            (words, control) if control else (words,)
        ):  # no words at all ask for the default run
            sys.argv[1:] = sweep
            with defer_interrupts(here) if asked.workers else nullcontext():
                run_hydra()
        runner.run_deferred(here.deferred())


def search(asked: compose.Sweep, words: Sequence[str]) -> list[str]:
    """Run the trials that a command's searches lack; a line about each search, or nothing where none is asked for."""
    if planning.has_open_searches(asked.runs):
        trials = compose.trial_overrides(words, asked.runs[0].tune)
        train(compose.compose_sweep(trials), trials)
    return planning.conclude_searches(asked.runs)


def forecast(asked: compose.Sweep, arguments: Sequence[str]) -> int:
    """Say what a command would run, without running it. Raises UserError for what would make it one."""
    from bench.execution import dry_run

    files.check_creatable(
        Path(asked.runs[0].results) / asked.runs[0].suite / "runs", required_disk_bytes(asked)
    )
    validate(asked)
    runs = budget.plan_runs(asked.runs, keep=False)
    trials = (
        compose.compose_sweep(compose.trial_overrides(arguments, asked.runs[0].tune)).runs
        if planning.has_open_searches(runs)
        else []
    )
    print(dry_run.forecast_table([*runs, *trials], asked.sweep, asked.remote, say))
    return 0


Errand = Callable[
    [compose.Sweep, Sequence[str]], int
]  # what a door does with a command and its words; returns the exit code


def run_command(arguments: Sequence[str], errand: Errand = run_sweep) -> int:
    """One command from its words to its exit code. Raises UserError and KeyboardInterrupt."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if any(argument.partition("=")[0] in LOOK_ONLY for argument in arguments):
        with hydra_errors.raise_user_errors():
            run_hydra()
        return 0
    asked = compose.compose_sweep(arguments)
    if torchrun.is_active():
        torchrun.check_launcher(asked.workers)
    # what every job has to know of the whole command, in whatever process its launcher starts it
    flags, overrides = compose.split_flags(arguments)
    os.environ["BENCH_DOOR"] = runner.process_name()
    os.environ["BENCH_BEGAN"] = str(time.time())
    os.environ["BENCH_THREADS"] = str(asked.runs[0].threads * asked.runs[0].train.ranks)
    os.environ["BENCH_RANKS"] = str(asked.runs[0].train.ranks)
    os.environ["BENCH_WORDS"] = json.dumps([*flags, *overrides])
    os.environ["BENCH_FLAGS"] = json.dumps(
        [flag for flag in flags if flag not in ("-m", "--multirun")]
    )
    os.environ["BENCH_TWICE"] = json.dumps(asked.duplicates)
    if asked.runs[0].dry:
        return forecast(asked, arguments)
    return errand(asked._replace(runs=budget.plan_runs(asked.runs)), [*flags, *overrides])


def main(errand: Errand = run_sweep) -> int:
    """The door with its doormat: whatever a user did wrong is one line."""
    setup_logging()
    try:
        flags, overrides = compose.split_flags(sys.argv[1:])
        if torchrun.is_follower():
            return torchrun.follow(say)
        sys.argv[1:] = [
            *flags,
            *(torchrun.with_ranks(overrides) if torchrun.is_active() else overrides),
        ]
        with signals.handle_signals(signals.raise_terminated, signals.TERMINATION_SIGNALS):
            return run_command(sys.argv[1:], errand)
    except UserError as mistake:
        say(f"error: {mistake} [{mistake.code}]")
        return 2
    except KeyboardInterrupt as ended:
        say(
            "stopped: what is finished stays, the same command goes on; python -m bench.report makes the report of what there is"
        )
        return 128 + (ended.number if isinstance(ended, signals.Terminated) else signal.SIGINT)
    finally:
        torchrun.dismiss_followers()


if __name__ == "__main__":
    sys.exit(main())
