"""Measure several architectures on one machine in turns, so that a disturbance meets all alike."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from bench.config import MeasureConfig, Run, workload_id
from bench.performance.calibration.checks import calibrate
from bench.performance.entry import Entry
from bench.performance.length_sweep import sweep_lengths
from bench.performance.rounds import run_rate_rounds, run_rounds
from bench.performance.store import needs_measuring, write_session
from bench.system import files, host, host_state, locks, signals

logger = logging.getLogger(__name__)

LOCK_NAME = "measure"  # of the lock that a session holds
RATE_KINDS = ("train", "prefill", "decode")  # whose ratios are compared
COMPILED = "decode_compiled"  # the kind that is measured where it is asked for
MAX_PROCESS_STARTS = 60  # of all entries together: with more entries each gets fewer processes …
MIN_PROCESSES = 3  # … but enough for an interval
ENCODER = "encoder"  # the family
LARGER_BATCH_FACTOR = 4  # where this batch trains more tokens per second, launching is the limit


@contextmanager
def exclusive_session() -> Iterator[None]:
    """Hold the machine's lock: two sessions would measure each other. Wait for another's end.

    Sessions of other users are not seen. Raise UserError where the user's locks cannot be used.
    """
    lock = locks.machine_lock(LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = locks.describe_holder(lock)
        logger.info("another measurement runs on this machine, %s: waiting for its end", holder)
        lock.acquire()
    locks.write_holder(lock)
    if count := signals.count_other_commands():
        logger.warning("other commands train here (%d): intervals will be wider", count)
    try:
        yield
    finally:
        lock.release()


def is_session_running() -> bool:
    """Return whether a session of this user measures on this machine now. Raise UserError."""
    try:
        with locks.machine_lock(LOCK_NAME).acquire(timeout=0):
            return False
    except Timeout:
        return True


# --- entries and their processes ----------------------------------------------------------------


def make_entries(
    runs: Sequence[Run], vocabularies: Mapping[str, int], options: MeasureConfig
) -> list[Entry]:
    """Return an entry for each distinct workload and the A/A duplicate of the first.

    Encoders, which neither prefill nor decode, come last.
    """
    distinct: dict[str, Run] = {}
    for run in runs:
        distinct.setdefault(workload_id(run), run)
    ordered = sorted(distinct.items(), key=lambda item: item[1].arch.get("family") == ENCODER)
    options = limit_processes(options, len(ordered) + 1)
    entries = [Entry(run, vocabularies[name], options) for name, run in ordered]
    first = entries[0]
    return [*entries, Entry(first.run, first.vocabulary, options, duplicate=True)]


def limit_processes(options: MeasureConfig, entries: int) -> MeasureConfig:
    """Return options with fewer processes where starting them would take most of the time."""
    limit = max(MIN_PROCESSES, MAX_PROCESS_STARTS // entries)
    return replace(options, processes=min(options.processes, limit))


def start_in_groups(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Start the entries' workers in groups of as many as there are cores; imports take seconds."""
    for first in range(0, len(entries), host.available_cores()):
        group = entries[first : first + host.available_cores()]
        for entry in group:
            entry.start()
        yield group


def prepare_in_parallel(entries: Sequence[Entry]) -> list[Entry]:
    """Build the models in started workers; return the entries where that worked."""
    with ThreadPoolExecutor(host.available_cores()) as pool:
        prepared = list(pool.map(Entry.prepare, entries))
    return [entry for entry, ready in zip(entries, prepared, strict=True) if ready]


def prepare_all(entries: Sequence[Entry]) -> list[Entry]:
    """Start workers and build their models; return the entries where that worked."""
    ready = []
    for group in start_in_groups(entries):
        names = (entry.run.names["arch"] + " again" * entry.duplicate for entry in group)
        logger.info("measuring: building %s", ", ".join(names))
        ready += prepare_in_parallel(group)
    return ready


# --- the stages of a session --------------------------------------------------------------------


def measure_rates(entries: Sequence[Entry], kinds: Sequence[str], starts: list[int]) -> None:
    """Measure rounds of rates in `measure.processes` successive processes of each entry.

    Append the first round of each process to `starts`; the last processes stay alive.
    """
    rounds, processes = 0, entries[0].options.processes
    for number in range(processes):
        live = [entry for entry in entries if entry.status == "done"]
        for entry in live if number else ():
            entry.renew()
        ready = prepare_in_parallel(live) if number else prepare_all(live)
        starts.append(rounds)
        if ready:
            rounds = run_rate_rounds(ready, kinds, rounds, (number + 1) / processes)


def measure_step_details(entries: Sequence[Entry]) -> None:
    """Measure phases of a step, larger batches, the hardware's peak, and energy."""
    options = entries[0].options
    larger = [f"{name}@batch={size}" for size in options.batches for name in ("prefill", "decode")]
    logger.info("measuring: phases of a step, larger batches, the hardware's own peak")
    run_rounds(entries, ["phases", "product", "copy", *larger], options.side_rounds)
    for size in sorted({entry.run.train.batch for entry in entries}):
        group = [entry for entry in entries if entry.run.train.batch == size]
        run_rounds(group, [f"train@batch={LARGER_BATCH_FACTOR * size}"], options.side_rounds)
    for entry in entries:
        if options.energy_seconds and entry.worker is not None:
            entry.samples.energy = entry.ask("energy", "energy") or {}


def measure_memory(entries: Sequence[Entry]) -> None:
    """Measure memory in fresh processes, in which nothing was timed before."""
    for entry in entries:
        entry.stop()
    logger.info("measuring: memory")
    for group in start_in_groups([entry for entry in entries if entry.status == "done"]):
        for entry in group:
            if entry.prepare("memory"):
                entry.samples.memory = entry.ask("memory", "memory") or {}
            entry.stop()


def compiles_decoding(run: Run, options: MeasureConfig) -> bool:
    """Tell whether the compiled step is measured too: compiling takes 15 to 50 s for each entry."""
    return run.decode == "compiled" or (run.decode == "auto" and options.depth == "full")


def measure_all(entries: Sequence[Entry], starts: list[int]) -> None:
    """Run every stage; leave no worker running."""
    logger.info("measuring: %d processes in turns", len(entries))
    try:
        compiled = (COMPILED,) if compiles_decoding(entries[0].run, entries[0].options) else ()
        measure_rates(entries, (*RATE_KINDS, *compiled), starts)
        once = [entry for entry in entries if not entry.duplicate and entry.status == "done"]
        if once:
            measure_step_details(once)
            sweep_lengths(once)
            # last: a profiler slows all later launches of its process
            for entry in once:
                if entry.samples.facts.get("device") == "cuda":
                    run_rounds([entry], ["busy_share"], 1)
            measure_memory(once)
    finally:
        for entry in entries:
            entry.stop()


def measure_runs(runs: Sequence[Run], results: Path, remeasure: bool = True) -> Path | None:
    """Measure the workloads of `runs` with the first one's options; see `run_session`."""
    from bench import data

    vocabularies: dict[str, int] = {}
    for run in runs:
        if (name := workload_id(run)) not in vocabularies:
            vocabularies[name] = data.prepare(run.data, run.names["data"]).vocabulary.size
    return run_session(runs, vocabularies, results, runs[0].measure, remeasure)


def run_session(
    runs: Sequence[Run],
    vocabularies: Mapping[str, int],
    results: Path,
    options: MeasureConfig,
    remeasure: bool = True,
) -> Path | None:
    """Measure the distinct workloads of `runs` in turns and write a record of each.

    The first is the reference. `vocabularies`: tokens by workload · `results`: the suite's folder ·
    `remeasure`: measure even where a session of this machine holds all of them (None is returned
    otherwise). Return the session's folder. An entry that fails is recorded as failed and the
    others go on; a session that is interrupted is recorded as stopped.
    """
    files.check_temporary_folder()
    with exclusive_session():
        if not remeasure and not needs_measuring(runs, results, options, vocabularies):
            return None
        entries, starts = make_entries(runs, vocabularies, options), list[int]()
        context: dict[str, Any] = {"before": host_state.read_host_state(), "process_starts": starts}
        try:
            measure_all(entries, starts)
            logger.info("measuring: reference models of known cost")
            first = runs[0]
            report = calibrate(first.threads, options.limit_seconds, True, first.train.device)
        except KeyboardInterrupt:
            if any(entry.samples.windows.get("train") for entry in entries):
                folder = write_session(entries, results, options, context | {"stopped": True}, {})
                logger.warning("stopped: %s keeps what was measured, for no claim", folder)
            raise
        return write_session(entries, results, options, context, report.as_json())
