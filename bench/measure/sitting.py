"""A sitting: several architectures measured on one machine in turns, so that what disturbs one disturbs all of them alike."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench import machine
from bench.config import Measure, Run
from bench.identity import subject
from bench.measure.conversation import Ended, Worker
from bench.measure.filing import SEED, file, load
from bench.measure.seat import Seat

LOCK = "architecture-bench-measure.lock"
FEWEST = 3  # rounds that are done even when measure.cap_seconds is over
CURVES_EVERY = 4  # rounds: a curve needs fewer samples than a ratio
SPEAK_SECONDS = 10.0  # between lines that tell how far it is

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
    distinct: dict[str, Run] = {}
    for run in runs:
        distinct.setdefault(subject(run), run)
    firsts = [Seat(run, vocabularies[name]) for name, run in distinct.items()]
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


def take_round(table: Sequence[Seat], kinds: Sequence[str], order: random.Random) -> list[tuple[Seat, str, Any]]:
    """One window of each kind from everyone who can give it, in an order shuffled for each kind: (seat, kind, window)."""
    taken = []
    for kind in kinds:
        for seat in order.sample(table, len(table)):
            if kind in seat.waiting and (window := seat.ask("window", kind, name=kind)) is not None:
                taken.append((seat, kind, window))
    return taken


def take_rounds(table: Sequence[Seat], options: Measure, say: Progress) -> None:
    """Round after round, after one that warms up and is not kept, until enough are done or the cap is reached."""
    order, kinds = random.Random(SEED), list(dict.fromkeys(name for seat in table for name in seat.waiting))
    say("measuring: warming up")
    take_round(table, kinds, order)
    began = spoke = time.monotonic()
    for round_ in range(options.rounds):
        now = time.monotonic()
        if round_ >= FEWEST and now - began > options.cap_seconds:
            say(f"measuring: {round_} rounds of {options.rounds} (measure.cap_seconds={options.cap_seconds:g} is over)")
            break
        if round_ and now - spoke > SPEAK_SECONDS:
            left = min(options.cap_seconds - (now - began), (now - began) / round_ * (options.rounds - round_))
            say(f"measuring: round {round_} of {options.rounds} done, {left:.0f} s left")
            spoke = now
        for seat, kind, window in take_round(table, [kind for kind in kinds if due(kind, round_)], order):
            seat.samples.windows.setdefault(kind, []).append((round_, window))


def due(kind: str, round_: int) -> bool:
    """Whether a kind of window is taken in this round: the points of curves are in one of four."""
    return "@" not in kind or round_ % CURVES_EVERY == 0


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
    Returns the sitting's folder. What fails is recorded as failed, and the others stand.
    """
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
