"""Time contenders in turns: each in a fresh process of one thread, compared by paired ratios.

The other scripts share this. Only ratios within a run mean anything: the machine changes from
minute to minute.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.stats.intervals import paired_ratios
from bench.system import host

# what a contender can do: the work, and how much of it one call does
Works = Mapping[str, tuple[Callable[[], object], float]]
# (rounds, 2) by contender and work: amounts per second of wall and of processor time
Rates = dict[tuple[str, str], np.ndarray]
Pair = tuple[tuple[str, str], tuple[str, str]]  # a rate over another


def parser(description: str | None, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """Return a parser of the options that all scripts have."""
    options = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--seconds", type=float, default=seconds, help="of one turn")
    options.add_argument("--inside", help=argparse.SUPPRESS)
    return options


# --- the side of a contender --------------------------------------------------------------------


@contextmanager
def answer_stream() -> Iterator[IO[str]]:
    """Yield standard output for answers; whatever else is printed goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


class TurnTaker:
    """Read whose turn it is, and answer how long it took."""

    def __init__(self, answers: IO[str], amounts: Mapping[str, float]) -> None:
        self.answers = answers
        self.answer(amounts)

    def answer(self, value: object) -> None:
        """Write one line of JSON."""
        print(json.dumps(value), file=self.answers, flush=True)

    def begin(self) -> tuple[str, int]:
        """Return the requested work and its number of calls; end the process after the last."""
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self.clocks = time.perf_counter(), time.process_time()
        name, calls = json.loads(line)
        return name, calls

    def end(self) -> None:
        """Answer the seconds since `begin`, by wall and processor time."""
        wall, cpu = time.perf_counter() - self.clocks[0], time.process_time() - self.clocks[1]
        self.answer([wall, cpu])


def serve(make: Callable[[], Works]) -> None:
    """Work on request until the requests end."""
    with answer_stream() as answers:
        works = make()
        turns = TurnTaker(answers, {name: amount for name, (_, amount) in works.items()})
        while True:
            name, calls = turns.begin()
            for _ in range(calls):
                works[name][0]()
            turns.end()


# --- the other side -----------------------------------------------------------------------------


class Contender:
    """A process that works on request."""

    def __init__(self, script: str, name: str, options: Sequence[str]) -> None:
        command = [sys.executable, script, *options, "--inside", name]
        environment = host.worker_environment(1) | {"TRANSFORMERS_VERBOSITY": "error"}
        pipe = subprocess.PIPE
        self.name, self.calls = name, dict[str, int]()
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
        )

    def read(self) -> Any:
        """Return the next answer; exit where the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: {self.process.communicate()[1][-2000:]}")
        return json.loads(line)

    def start(self) -> None:
        """Wait until it is ready."""
        self.amounts: dict[str, float] = dict(self.read())

    def window(self, work: str, seconds: float) -> tuple[float, float]:
        """Return amounts per second, by both clocks, over about so many seconds."""
        if work not in self.calls:
            once = self.timed(work, 1)[0]
            if once < seconds:  # the first call warms up
                once = min(self.timed(work, 1)[0] for _ in range(3))
            self.calls[work] = max(1, round(seconds / max(once, 1e-9)))
        amount = self.calls[work] * self.amounts[work]
        wall, cpu = self.timed(work, self.calls[work])
        return amount / wall, amount / cpu

    def timed(self, work: str, calls: int) -> list[float]:
        """Return the seconds of some calls, by both clocks."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([work, calls]) + "\n")
        self.process.stdin.flush()
        return self.read()

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def take_turns(
    script: str, names: Sequence[str], options: Sequence[str], rounds: int, seconds: float
) -> Rates:
    """Time every contender once per round, in random order, after a warm-up round."""
    order, samples = random.Random(0), dict[tuple[str, str], list[tuple[float, float]]]()
    with ExitStack() as stack:
        contenders = []
        for name in names:  # one after another: compiling must not disturb the next one
            contenders.append(stack.enter_context(Contender(script, name, options)))
            contenders[-1].start()
        for number in range(rounds + 1):
            for contender in order.sample(contenders, len(contenders)):
                for work in contender.amounts:
                    rates = contender.window(work, seconds)
                    if number:
                        samples.setdefault((contender.name, work), []).append(rates)
            print(f"\rround {number} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {key: np.array(rates) for key, rates in samples.items()}


def print_table(rates: Rates, pairs: Mapping[str, Pair], unit: str) -> None:
    """Print one line per pair: the median paired ratio with its 95 % interval, by both clocks."""
    machine = f"{host.processor_name()}, {host.available_cores()} cores"
    print(f"{machine}, torch {host.package_version('torch')}, one thread per process")
    lines = [("", unit, "over", "ratio", "95 %", "by processor time", "95 %", "rounds")]
    for name, (first, second) in pairs.items():
        ratios = paired_ratios([rates[first][:, i] / rates[second][:, i] for i in (0, 1)])
        texts = [
            (f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}")
            for ratio in ratios
            if ratio
        ]
        speeds = [f"{np.median(rates[one][:, 0]):,.1f}" for one in (first, second)]
        lines.append((name, *speeds, *sum(texts, ()), str(len(rates[first]))))
    print_columns(lines)


def print_columns(lines: Sequence[Sequence[str]]) -> None:
    """Print aligned columns, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]))
