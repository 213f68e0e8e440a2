"""A sitting: several architectures measured on one machine in turns, so that what disturbs one disturbs all of them alike."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.config.identity import subject
from bench.config.schema import Measure, Run
from bench.performance.calibration.checks import examine
from bench.performance.entry import Seat
from bench.performance.length_sweep import take_curves
from bench.performance.rounds import Progress, take_rates, take_rounds
from bench.performance.store import file, needed
from bench.system import host, host_state, signals

LOCK = "architecture-bench-measure.lock"
RATES = ("train", "prefill", "decode")  # what ratios are formed of
STARTS = 60  # processes, of all architectures together: where these are many, each gets fewer, one after another …
FEWEST = 3  # … but so many, of which an interval can still be told
ENCODER = "encoder"  # the family
LARGER = 4  # times the recipe's batch: where that trains more tokens a second, launching is what takes the time


@contextmanager
def only_sitting(say: Progress) -> Iterator[None]:
    """Hold the machine: a second sitting would measure the first. Waits for its end, and says so."""
    lock = _lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another measurement runs on this machine: waiting for its end")
        lock.acquire()
    except PermissionError:
        say(
            f"{lock.lock_file} belongs to somebody else: measuring without knowing whether another measurement runs"
        )
    if count := signals.others():
        say(
            f"other commands of the bench train on this machine now ({count}): beside them intervals are wider"
        )
    try:
        yield
    finally:
        lock.release()


def goes_on() -> bool:
    """Whether somebody measures on this machine now."""
    try:
        with _lock().acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _lock() -> FileLock:
    return FileLock(Path(tempfile.gettempdir()) / LOCK, mode=0o666)


# --- the course of a sitting ------------------------------------------------------------------------------------------


def seats(runs: Sequence[Run], vocabularies: Mapping[str, int], options: Measure) -> list[Seat]:
    """A seat for each distinct subject, and the twin of the first: an encoder, which neither reads nor writes, comes last."""
    distinct: dict[str, Run] = {}
    for run in runs:
        distinct.setdefault(subject(run), run)
    ordered = sorted(distinct.items(), key=lambda item: item[1].arch.get("family") == ENCODER)
    firsts = [Seat(run, vocabularies[name], options) for name, run in ordered]
    return [*firsts, Seat(firsts[0].run, firsts[0].vocabulary, options, twin=True)]


def affordable(options: Measure, count: int) -> Measure:
    """The options for so many seats: with fewer processes each where starting them would take most of the time."""
    return replace(options, processes=min(options.processes, max(FEWEST, STARTS // count)))


def by_cores(table: Sequence[Seat]) -> Iterator[Sequence[Seat]]:
    """The seats in groups of as many as there are cores, each with a worker that is being started: imports take seconds."""
    for first in range(0, len(table), host.cores()):
        group = table[first : first + host.cores()]
        for seat in group:
            seat.sit_down()
        yield group


def prepare(table: Sequence[Seat], say: Progress) -> list[Seat]:
    """Let every worker build its model, as many at once as there are cores; those that could."""
    ready = []
    for group in by_cores(table):
        say(
            f"measuring: building {', '.join(seat.run.names['arch'] + ' again' * seat.twin for seat in group)}"
        )
        ready += built(group)
    return ready


def renew(table: Sequence[Seat]) -> list[Seat]:
    """Give every seat a fresh process with a model built afresh; those that could."""
    for seat in table:
        seat.renew()
    return built(table)


def built(table: Sequence[Seat]) -> list[Seat]:
    """Those whose worker could build its model, as many at once as there are cores."""
    with ThreadPoolExecutor(host.cores()) as pool:
        return [
            seat for seat, could in zip(table, pool.map(Seat.prepare, table), strict=True) if could
        ]


def rate(table: Sequence[Seat], kinds: Sequence[str], starts: list[int], say: Progress) -> None:
    """Rounds of rates by `measure.processes` fresh processes of everyone, one after another; the last ones stay.

    `starts` is filled with the first round of each.
    """
    rounds, processes = 0, table[0].options.processes
    for turn in range(processes):
        live = [seat for seat in table if seat.status == "done"]
        ready = renew(live) if turn else prepare(live, say)
        starts.append(rounds)
        rounds = take_rates(ready, kinds, rounds, (turn + 1) / processes, say) if ready else rounds


def take_sides(table: Sequence[Seat], say: Progress) -> None:
    """What stands beside the rates: the parts of a step, larger batches, what the machine itself can do, energy."""
    options, batch = table[0].options, {seat.run.train.batch for seat in table}
    larger = [f"{name}@batch={size}" for size in options.batches for name in ("prefill", "decode")]
    say("measuring: parts of a step, larger batches, the machine's own peak")
    take_rounds(table, ["phases", "product", "copy", *larger], options.side_rounds)
    for size in sorted(batch):
        own = [seat for seat in table if seat.run.train.batch == size]
        take_rounds(own, [f"train@batch={LARGER * size}"], options.side_rounds)
    for seat in table:
        if options.energy_seconds and seat.worker is not None:
            seat.samples.energy = seat.ask("energy", "energy") or {}


def take_busy(table: Sequence[Seat]) -> None:
    """How busy a card is: the last that is asked of its processes, as a profiler slows whatever is launched after it."""
    for seat in table:
        if seat.samples.facts.get("device") == "cuda":
            take_rounds([seat], ["busy_share"], 1)


def weigh(table: Sequence[Seat], say: Progress) -> None:
    """Memory, in a pass of its own and in fresh processes: what was timed before has left no trace in them."""
    for seat in table:
        seat.rise()
    say("measuring: memory")
    for group in by_cores([seat for seat in table if seat.status == "done"]):
        for seat in group:
            if seat.prepare("memory"):
                seat.samples.memory = seat.ask("weigh", "memory") or {}
            seat.rise()


def take_all(table: Sequence[Seat], starts: list[int], say: Progress) -> None:
    """Everything that is asked of the seats' workers, one stage after the other; none of them is left running."""
    try:
        rate(table, RATES, starts, say)
        once = [seat for seat in table if not seat.twin and seat.status == "done"]
        if once:
            take_sides(once, say)
            take_curves(once, say)
            take_busy(once)
            weigh(once, say)
    finally:
        for seat in table:
            seat.rise()


def sit(
    runs: Sequence[Run],
    vocabularies: Mapping[str, int],
    results: Path,
    options: Measure,
    progress: Progress | None = None,
    anew: bool = True,
) -> Path | None:
    """Measure the distinct subjects among `runs` in turns, the first seat's as the reference, and write a record for each.

    `vocabularies`: tokens by subject · `results`: the suite's folder · `progress` is called with a line at each stage ·
    `anew`: also where one sitting of this machine holds them all already (None is returned then). Returns the sitting's folder.
    What fails is recorded as failed, and the others stand; what there is when it is stopped is recorded too, as stopped.
    """
    say = progress or (lambda line: None)
    with only_sitting(say):
        if not anew and not needed(runs, results, options):
            return None
        table, starts = seats(runs, vocabularies, options), list[int]()
        around: dict[str, Any] = {"before": host_state.state(), "process_starts": starts}
        for seat in table:
            seat.options = affordable(options, len(table))
        say(f"measuring: {len(table)} processes in turns")
        try:
            take_all(table, starts, say)
            say("measuring: the rulers themselves")
            rulers = examine(
                runs[0].threads, options.limit_seconds, quick=True, device=runs[0].train.device
            )
        except KeyboardInterrupt:
            if any(seat.samples.windows.get("train") for seat in table):
                folder = file(
                    table,
                    results,
                    options,
                    around | {"after": host_state.state(), "stopped": True},
                    {},
                )
                say(f"stopped: what was measured until now is kept in {folder}, and claims nothing")
            raise
        return file(
            table, results, options, around | {"after": host_state.state()}, rulers.as_json()
        )
