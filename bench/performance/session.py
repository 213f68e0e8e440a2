"""A sitting: several architectures measured on one machine in turns, so that what disturbs one disturbs all of them alike."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.config.identity import workload_id
from bench.config.schema import MeasureConfig, Run
from bench.performance.calibration.checks import calibrate
from bench.performance.entry import Entry
from bench.performance.length_sweep import sweep_lengths
from bench.performance.rounds import Progress, run_rate_rounds, run_rounds
from bench.performance.store import needs_measuring, write_session
from bench.system import host, host_state, signals

LOCK_NAME = "architecture-bench-measure.lock"
RATE_KINDS = ("train", "prefill", "decode")  # what ratios are formed of
MAX_PROCESS_STARTS = 60  # processes, of all architectures together: where these are many, each gets fewer, one after another …
MIN_PROCESSES = 3  # … but so many, of which an interval can still be told
ENCODER = "encoder"  # the family
LARGER_BATCH_FACTOR = 4  # times the recipe's batch: where that trains more tokens a second, launching is what takes the time


@contextmanager
def exclusive_session(say: Progress) -> Iterator[None]:
    """Hold the machine: a second sitting would measure the first. Waits for its end, and says so."""
    lock = _session_lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another measurement runs on this machine: waiting for its end")
        lock.acquire()
    except PermissionError:
        say(
            f"{lock.lock_file} belongs to somebody else: measuring without knowing whether another measurement runs"
        )
    if count := signals.count_other_commands():
        say(
            f"other commands of the bench train on this machine now ({count}): beside them intervals are wider"
        )
    try:
        yield
    finally:
        lock.release()


def is_session_running() -> bool:
    """Whether somebody measures on this machine now."""
    try:
        with _session_lock().acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _session_lock() -> FileLock:
    return FileLock(Path(tempfile.gettempdir()) / LOCK_NAME, mode=0o666)


# --- the course of a sitting ------------------------------------------------------------------------------------------


def make_entries(
    runs: Sequence[Run], vocabularies: Mapping[str, int], options: MeasureConfig
) -> list[Entry]:
    """A seat for each distinct subject, and the twin of the first: an encoder, which neither reads nor writes, comes last."""
    distinct: dict[str, Run] = {}
    for run in runs:
        distinct.setdefault(workload_id(run), run)
    ordered = sorted(distinct.items(), key=lambda item: item[1].arch.get("family") == ENCODER)
    firsts = [Entry(run, vocabularies[name], options) for name, run in ordered]
    return [*firsts, Entry(firsts[0].run, firsts[0].vocabulary, options, twin=True)]


def limit_processes(options: MeasureConfig, count: int) -> MeasureConfig:
    """The options for so many seats: with fewer processes each where starting them would take most of the time."""
    return replace(
        options, processes=min(options.processes, max(MIN_PROCESSES, MAX_PROCESS_STARTS // count))
    )


def start_in_groups(table: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The seats in groups of as many as there are cores, each with a worker that is being started: imports take seconds."""
    for first in range(0, len(table), host.available_cores()):
        group = table[first : first + host.available_cores()]
        for seat in group:
            seat.start()
        yield group


def prepare_all(table: Sequence[Entry], say: Progress) -> list[Entry]:
    """Let every worker build its model, as many at once as there are cores; those that could."""
    ready = []
    for group in start_in_groups(table):
        say(
            f"measuring: building {', '.join(seat.run.names['arch'] + ' again' * seat.twin for seat in group)}"
        )
        ready += prepare_in_parallel(group)
    return ready


def renew_all(table: Sequence[Entry]) -> list[Entry]:
    """Give every seat a fresh process with a model built afresh; those that could."""
    for seat in table:
        seat.renew()
    return prepare_in_parallel(table)


def prepare_in_parallel(table: Sequence[Entry]) -> list[Entry]:
    """Those whose worker could build its model, as many at once as there are cores."""
    with ThreadPoolExecutor(host.available_cores()) as pool:
        return [
            seat for seat, could in zip(table, pool.map(Entry.prepare, table), strict=True) if could
        ]


def measure_rates(
    table: Sequence[Entry], kinds: Sequence[str], starts: list[int], say: Progress
) -> None:
    """Rounds of rates by `measure.processes` fresh processes of everyone, one after another; the last ones stay.

    `starts` is filled with the first round of each.
    """
    rounds, processes = 0, table[0].options.processes
    for turn in range(processes):
        live = [seat for seat in table if seat.status == "done"]
        ready = renew_all(live) if turn else prepare_all(live, say)
        starts.append(rounds)
        rounds = (
            run_rate_rounds(ready, kinds, rounds, (turn + 1) / processes, say) if ready else rounds
        )


def measure_step_details(table: Sequence[Entry], say: Progress) -> None:
    """What stands beside the rates: the parts of a step, larger batches, what the machine itself can do, energy."""
    options, batch = table[0].options, {seat.run.train.batch for seat in table}
    larger = [f"{name}@batch={size}" for size in options.batches for name in ("prefill", "decode")]
    say("measuring: parts of a step, larger batches, the machine's own peak")
    run_rounds(table, ["phases", "product", "copy", *larger], options.side_rounds)
    for size in sorted(batch):
        own = [seat for seat in table if seat.run.train.batch == size]
        run_rounds(own, [f"train@batch={LARGER_BATCH_FACTOR * size}"], options.side_rounds)
    for seat in table:
        if options.energy_seconds and seat.worker is not None:
            seat.samples.energy = seat.ask("energy", "energy") or {}


def measure_busy_share(table: Sequence[Entry]) -> None:
    """How busy a card is: the last that is asked of its processes, as a profiler slows whatever is launched after it."""
    for seat in table:
        if seat.samples.facts.get("device") == "cuda":
            run_rounds([seat], ["busy_share"], 1)


def measure_memory(table: Sequence[Entry], say: Progress) -> None:
    """Memory, in a pass of its own and in fresh processes: what was timed before has left no trace in them."""
    for seat in table:
        seat.stop()
    say("measuring: memory")
    for group in start_in_groups([seat for seat in table if seat.status == "done"]):
        for seat in group:
            if seat.prepare("memory"):
                seat.samples.memory = seat.ask("weigh", "memory") or {}
            seat.stop()


def measure_all(table: Sequence[Entry], starts: list[int], say: Progress) -> None:
    """Everything that is asked of the seats' workers, one stage after the other; none of them is left running."""
    try:
        measure_rates(table, RATE_KINDS, starts, say)
        once = [seat for seat in table if not seat.twin and seat.status == "done"]
        if once:
            measure_step_details(once, say)
            sweep_lengths(once, say)
            measure_busy_share(once)
            measure_memory(once, say)
    finally:
        for seat in table:
            seat.stop()


def run_session(
    runs: Sequence[Run],
    vocabularies: Mapping[str, int],
    results: Path,
    options: MeasureConfig,
    progress: Progress | None = None,
    anew: bool = True,
) -> Path | None:
    """Measure the distinct subjects among `runs` in turns, the first seat's as the reference, and write a record for each.

    `vocabularies`: tokens by subject · `results`: the suite's folder · `progress` is called with a line at each stage ·
    `anew`: also where one sitting of this machine holds them all already (None is returned then). Returns the sitting's folder.
    What fails is recorded as failed, and the others stand; what there is when it is stopped is recorded too, as stopped.
    """
    say = progress or (lambda line: None)
    with exclusive_session(say):
        if not anew and not needs_measuring(runs, results, options):
            return None
        table, starts = make_entries(runs, vocabularies, options), list[int]()
        around: dict[str, Any] = {"before": host_state.read_host_state(), "process_starts": starts}
        for seat in table:
            seat.options = limit_processes(options, len(table))
        say(f"measuring: {len(table)} processes in turns")
        try:
            measure_all(table, starts, say)
            say("measuring: the rulers themselves")
            rulers = calibrate(
                runs[0].threads, options.limit_seconds, quick=True, device=runs[0].train.device
            )
        except KeyboardInterrupt:
            if any(seat.samples.windows.get("train") for seat in table):
                folder = write_session(
                    table,
                    results,
                    options,
                    around | {"after": host_state.read_host_state(), "stopped": True},
                    {},
                )
                say(f"stopped: what was measured until now is kept in {folder}, and claims nothing")
            raise
        return write_session(
            table,
            results,
            options,
            around | {"after": host_state.read_host_state()},
            rulers.as_json(),
        )
