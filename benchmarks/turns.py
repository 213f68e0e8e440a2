"""Contenders in turns: each in a fresh process of one thread, one at work at a time, compared by the ratios of their rates.

What the scripts beside this file share. Only ratios within a run mean anything: the machine changes from minute to minute.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.stats.intervals import paired_ratios
from bench.system import host

Works = Mapping[
    str, tuple[Callable[[], object], float]
]  # what a contender can do, and how much of it a pass is
Rates = dict[
    tuple[str, str], np.ndarray
]  # (R, 2) by contender and work: amounts a second of wall and of processor time
Pair = tuple[tuple[str, str], tuple[str, str]]  # a rate over another


# --- a contender's side -----------------------------------------------------------------------------------------------


class TurnTaker:
    """Reads whose turn it is, and tells how long it took."""

    def __init__(self, answers: object, amounts: Mapping[str, float]) -> None:
        self.answers = answers
        self.tell(amounts)

    def tell(self, what: object) -> None:
        print(json.dumps(what), file=self.answers, flush=True)  # type: ignore[call-overload]

    def begin(self) -> tuple[str, int]:
        """The work that is asked for, and how many passes of it. Ends the process when there are no further turns."""
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self.clocks = time.perf_counter(), time.process_time()
        name, passes = json.loads(line)
        return name, passes

    def end(self) -> None:
        wall, cpu = time.perf_counter() - self.clocks[0], time.process_time() - self.clocks[1]
        self.tell([wall, cpu])


def serve(make: Callable[[], Works]) -> None:
    """Work whenever asked, until nobody asks any more. What a contender prints while it is made goes elsewhere."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        works = make()
        turns = TurnTaker(answers, {name: amount for name, (_, amount) in works.items()})
        while True:
            name, passes = turns.begin()
            for _ in range(passes):
                works[name][0]()
            turns.end()


# --- the other side ---------------------------------------------------------------------------------------------------


class Contender:
    """A process that works when it is asked to."""

    def __init__(self, script: str, name: str, options: Sequence[str]) -> None:
        command = [sys.executable, script, *options, "--inside", name]
        environment = host.worker_environment(1) | {"TRANSFORMERS_VERBOSITY": "error"}
        self.name, self.passes = name, dict[str, int]()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def hear(self) -> list[float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: {self.process.communicate()[1][-2000:]}")
        return json.loads(line)

    def start(self) -> None:
        self.amounts = dict(self.hear())

    def window(self, work: str, seconds: float) -> tuple[float, float]:
        """Amounts a second, by both clocks, over about so many seconds."""
        if work not in self.passes:
            once = self.timed(work, 1)[0]
            if once < seconds:  # the first time warms up, and says little
                once = min(self.timed(work, 1)[0] for _ in range(3))
            self.passes[work] = max(1, round(seconds / max(once, 1e-9)))
        amount = self.passes[work] * self.amounts[work]
        wall, cpu = self.timed(work, self.passes[work])
        return amount / wall, amount / cpu

    def timed(self, work: str, passes: int) -> list[float]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([work, passes]) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def take_turns(
    script: str, names: Sequence[str], options: Sequence[str], rounds: int, seconds: float
) -> Rates:
    """Rounds of windows: everyone once a round in an order drawn anew, after a round that warms up."""
    order, taken = random.Random(0), dict[tuple[str, str], list[tuple[float, float]]]()
    with ExitStack() as stack:
        contenders = []
        for name in names:  # one after another: what they compile shall not disturb the next one
            contenders.append(stack.enter_context(Contender(script, name, options)))
            contenders[-1].start()
        for number in range(rounds + 1):
            for contender in order.sample(contenders, len(contenders)):
                for work in contender.amounts:
                    found = contender.window(work, seconds)
                    if number:
                        taken.setdefault((contender.name, work), []).append(found)
            print(f"\rround {number} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {key: np.array(found) for key, found in taken.items()}


def table(rates: Rates, pairs: Mapping[str, Pair], unit: str) -> None:
    """One line for each pair: the median of the paired ratio with its 95 % interval, by both clocks."""
    print(
        f"{host.processor_name()}, {host.available_cores()} cores, torch {host.package_version('torch')}, one thread a process"
    )
    lines = [("", unit, "over", "ratio", "95 %", "by processor time", "95 %", "rounds")]
    for name, (first, second) in pairs.items():
        found = paired_ratios(
            [rates[first][:, clock] / rates[second][:, clock] for clock in (0, 1)]
        )
        cells = [
            cell
            for ratio in found
            if ratio
            for cell in (f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}")
        ]
        speeds = [f"{np.median(rates[one][:, 0]):,.1f}" for one in (first, second)]
        lines.append((name, *speeds, *cells, str(len(rates[first]))))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
                ]
            )
        )
