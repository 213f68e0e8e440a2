"""A sitting: several architectures measured on one machine in turns, so that what disturbs one disturbs all of them alike."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from bench import machine
from bench.config import Measure, Mistake, Run, subject
from bench.measure.conversation import Ended, Worker
from bench.measure.filing import SEED, file, load
from bench.measure.seat import Seat

LOCK = "architecture-bench-measure.lock"
FEWEST = 3  # rounds that are done even when measure.cap_seconds is over

Progress = Callable[[str], None]


# --- one machine, one sitting at a time -------------------------------------------------------------------------------


@contextmanager
def only_sitting(say: Progress) -> Iterator[None]:
    """Hold the machine: a second sitting would measure the first. Waits for its end, and says so."""
    lock = FileLock(Path(tempfile.gettempdir()) / LOCK, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another measurement runs on this machine: waiting for its end")
        lock.acquire()
    except PermissionError:
        say(f"{lock.lock_file} belongs to somebody else: measuring without knowing whether another measurement runs")
    try:
        yield
    finally:
        lock.release()


# --- the course of a sitting ------------------------------------------------------------------------------------------


def seats(runs: Sequence[Run], vocabularies: Mapping[str, int]) -> list[Seat]:
    """A seat for each distinct subject, and the twin of the first."""
    distinct = {subject(run): run for run in reversed(runs)}
    firsts = [Seat(run, vocabularies[subject(run)]) for run in runs if distinct[subject(run)] is run]
    return [*firsts, Seat(firsts[0].run, firsts[0].vocabulary, twin=True)]


def prepare(table: Sequence[Seat], options: Measure, say: Progress) -> None:
    """Start the workers, as many at once as there are cores, and let each build its model while the others wait."""
    at_once = machine.cores()
    say(f"measuring: starting {len(table)} processes")
    for first in range(0, len(table), at_once):
        group = table[first : first + at_once]
        for seat in group:
            seat.worker = Worker(seat.run.threads, options.limit_seconds)
        for seat in group:
            assert seat.worker is not None
            try:
                seat.worker.ready()
            except Ended as error:
                seat.leave("failed", str(error))
    for number, seat in enumerate(table):
        say(f"measuring: building {seat.run.names['arch']} ({number + 1} of {len(table)})")
        if seat.worker is None:
            continue
        described = asdict(seat.run) | {"measure": asdict(options)}
        given = seat.ask("prepare", "prepare", run=described, vocabulary=seat.vocabulary)
        if given is not None:
            seat.samples.facts, seat.environment, seat.waiting = given["facts"], given["environment"], given["windows"]


def take_rounds(table: Sequence[Seat], options: Measure, say: Progress) -> None:
    """Round after round, each kind of window for everyone in an order shuffled anew. Round -1 warms up and is not kept."""
    order, began = random.Random(SEED), time.monotonic()
    kinds = list(dict.fromkeys(name for seat in table for name in seat.waiting))
    for round_ in range(-1, options.rounds):
        spent = time.monotonic() - began
        if round_ >= FEWEST and spent > options.cap_seconds:
            say(f"measuring: {round_} rounds of {options.rounds} (measure.cap_seconds={options.cap_seconds:g} is over)")
            break
        left = f", {spent / (round_ + 1) * (options.rounds - round_):.0f} s left" if round_ >= 0 else ""
        say(f"measuring: round {round_ + 1} of {options.rounds}{left}")
        for kind in kinds:
            for seat in order.sample(table, len(table)):
                if kind not in seat.waiting:
                    continue
                window = seat.ask("window", kind, name=kind)
                if window is not None and round_ >= 0:
                    seat.samples.windows.setdefault(kind, []).append((round_, window))


def weigh(table: Sequence[Seat], say: Progress) -> None:
    """Memory, in a pass of its own."""
    for seat in table:
        if seat.worker is not None:
            say(f"measuring: memory of {seat.run.names['arch']}")
            seat.samples.memory = seat.ask("weigh", "memory") or {}


def sit(
    runs: Sequence[Run], vocabularies: Mapping[str, int], results: Path, options: Measure, progress: Progress | None = None
) -> Path:
    """Measure the distinct subjects among `runs` in turns, the first as the reference, and write a record for each.

    `vocabularies`: tokens by subject · `results`: the suite's folder · `progress` is called with a line at each stage.
    Returns the sitting's folder. What fails is recorded as failed, and the others stand. Raises Mistake for bad options.
    """
    if any(length < 2 for length in options.decode_lengths):
        raise Mistake(f"measure.decode_lengths={options.decode_lengths} is out of range: each takes 2 or more")
    say, table = progress or (lambda line: None), seats(runs, vocabularies)
    with only_sitting(say):
        try:
            before = load()
            prepare(table, options, say)
            take_rounds(table, options, say)
            weigh(table, say)
        finally:
            for seat in table:
                if seat.worker is not None:
                    seat.worker.end()
        return file(table, results, options, before)
