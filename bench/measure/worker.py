"""`python -m bench.measure.worker`: one architecture in a fresh process. It waits, and works only while it is asked to.

A request is a line of JSON on standard input, its answer one on standard output:
{"ask": "prepare", "run", "vocabulary"} · {"ask": "window", "name"} · {"ask": "weigh"}; {"gave": …} where it went well,
{"refused": reason} for what the architecture can not do, {"failed": reason} for everything else.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any

import torch

from architectures.interface import Unsupported
from bench.config import Mistake, Run, from_plain
from bench.machine import environment
from bench.measure.subject import Subject


@contextmanager
def channel() -> Iterator[IO[str]]:
    """Standard output, kept for the answers: whatever else is printed in this process goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def settle(run: Run) -> None:
    """The state of this process that timings depend on."""
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # numbers next to zero would be a hundred times as slow
    torch.manual_seed(0)


class Desk:
    """Answers requests about the one architecture that it was given."""

    subject: Subject

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        run = from_plain(request["run"])
        settle(run)
        self.subject = Subject(run, int(request["vocabulary"]))
        affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        found = {"torch_threads": torch.get_num_threads(), "affinity": affinity, "pid": os.getpid()}
        return {
            "facts": self.subject.facts(),
            "windows": list(self.subject.windows),
            "environment": environment(run.threads) | found,
        }

    def window(self, request: dict[str, Any]) -> dict[str, Any]:
        return asdict(self.subject.windows[request["name"]]())

    def weigh(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self.subject.weigh())

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked; a reason in place of an error."""
        try:
            return {"gave": getattr(self, request["ask"])(request)}
        except Unsupported as error:
            return {"refused": str(error)}
        except Mistake as error:
            return {"failed": str(error)}
        except Exception as error:  # a user's architecture may raise anything, and the others go on
            return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the sitting's to answer: it ends its workers itself
    desk = Desk()
    with channel() as answers:
        answers.write(json.dumps({"gave": "ready"}) + "\n")
        answers.flush()
        for line in sys.stdin:
            answers.write(json.dumps(desk.answer(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
