"""`python -m bench.performance.worker`: one architecture in a fresh process. It waits, and works only while it is asked to.

A request is a line of JSON on standard input, its answer one on standard output:
{"ask": "prepare", "run", "vocabulary", "weighs"} · {"ask": "window", "name", "at"} · {"ask": "facts", "at"} · {"ask": "energy"} ·
{"ask": "weigh"} · {"ask": "renew"}; {"gave": …} where it went well, {"refused": reason} for what the architecture can not do,
{"failed": reason} for everything else.

The process that was started only imports: it is its child that works, and after "renew" another child, with memory of its own.
Imports take two seconds, a child none.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any

import torch

from architectures.interface import Unsupported
from bench.config.errors import UserError
from bench.config.schema import Run, run_from_dict
from bench.model import PLUGIN_ERRORS, describe_error
from bench.performance import energy, memory, memory_profile
from bench.performance.hardware_peak import HardwarePeak
from bench.performance.process_memory import reset_peak_bytes
from bench.performance.workload import Workload
from bench.system.host import environment_record

EXIT_RENEW = 77  # exit code of a child that gives way to a fresh one


@contextmanager
def answer_stream() -> Iterator[IO[str]]:
    """Standard output, kept for the answers: whatever else is printed in this process goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def configure_process(run: Run) -> None:
    """The state of this process that timings depend on."""
    torch.set_num_threads(run.threads)
    torch.set_flush_denormal(True)  # numbers next to zero would be a hundred times as slow
    torch.manual_seed(0)


def error_reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    said = " ".join(str(error).split())[:300]
    if memory.out_of_memory(error):
        return f"out of memory: {said}"
    return said if isinstance(error, UserError) else describe_error(error)


class WorkerServer:
    """Answers requests about the one architecture that it was given."""

    def __init__(self) -> None:
        self.run = Run()
        self.vocabulary = 0
        self.held: dict[
            tuple[int, int], Workload
        ] = {}  # (context, batch): the subject itself at (0, 0), and one other at most
        self.peak_before: int | str = "not available: this process was not started for it"
        self.machine: HardwarePeak | None = None
        self.over = False  # a fresh process was asked for

    def subject(self, at: Mapping[str, float]) -> Workload:
        """The architecture as its run has it, or made afresh for another context or a larger batch of training."""
        length = int(at.get("length", 0))
        steps = self.run.train.batch * self.run.size.context
        key = (length, max(1, steps // length)) if length else (0, int(at.get("batch", 0)))
        if key not in self.held:
            for other in [other for other in self.held if other != (0, 0)]:
                del self.held[other]
            gc.collect()
            self.held[key] = Workload(self.run, self.vocabulary, *key)
        return self.held[key]

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        self.run, self.vocabulary, self.held = (
            run_from_dict(request["run"]),
            int(request["vocabulary"]),
            {},
        )
        configure_process(self.run)
        if request.get("weighs"):
            self.peak_before = reset_peak_bytes()
        subject = self.subject({})
        first = subject.first_step()
        affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        found = {"torch_threads": torch.get_num_threads(), "affinity": affinity, "pid": os.getpid()}
        return {
            "facts": subject.facts() | {"first_step_seconds": first.wall},
            "environment": environment_record(self.run.threads) | found,
        }

    def renew(self, request: dict[str, Any]) -> None:
        """Give way to a fresh process."""
        self.over = True

    def facts(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.subject(request["at"]).facts()

    def window(self, request: dict[str, Any]) -> Any:
        name, at = request["name"], request.get("at", {})
        if name in ("product", "copy"):
            subject = self.subject({})
            self.machine = self.machine or HardwarePeak(subject.device, subject.plan.precision)
            return asdict(getattr(self.machine, name)())
        if "batch" in at and name != "train":  # the same model, asked for several sequences at once
            return asdict(getattr(self.subject({}), name)(int(at["batch"])))
        seen = getattr(self.subject(at), name)()
        return seen if isinstance(seen, dict | float) else asdict(seen)

    def energy(self, request: dict[str, Any]) -> dict[str, Any]:
        """Joules over some seconds of training."""
        subject = self.subject({})
        counter = energy.find_counter(subject.device.type, subject.device.index or 0)
        if isinstance(counter, str):
            raise Unsupported(counter)
        tokens, seconds = 0.0, 0.0
        subject.train()  # whatever warms up does so before
        with counter.window() as window:
            while seconds < self.run.measure.energy_seconds:
                took = subject.train()
                tokens, seconds = tokens + took.tokens + subject.step_tokens, seconds + took.wall
        return {"joules": window.joules, "tokens": tokens, "method": counter.method}

    def weigh(self, request: dict[str, Any]) -> dict[str, Any]:
        with torch.compiler.set_stance(
            "force_eager"
        ):  # compiled, a step has no tensors to be weighed
            return dict(memory_profile.profile_workload(self.subject({}), self.peak_before))

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what was asked; a reason in place of an error."""
        try:
            return {"gave": getattr(self, request["ask"])(request)}
        except Unsupported as error:
            return {"refused": str(error)}
        except PLUGIN_ERRORS as error:  # the others go on
            return {"failed": error_reason(error)}

    def release_cached_memory(self) -> None:
        """What the allocator of a card keeps and nobody uses: the others of a sitting share the card. Every window warms up."""
        if self.run.train.device != "cpu" and torch.cuda.is_initialized():
            if self.machine is not None:
                self.machine.drop()
            gc.collect()
            torch.cuda.empty_cache()


def serve(answers: IO[str]) -> bool:
    """Answer until standard input closes, or a fresh process is asked for: whether it was."""
    desk = WorkerServer()
    answers.write(json.dumps({"gave": "ready"}) + "\n")
    answers.flush()
    while not desk.over and (line := sys.stdin.readline()):
        answer = desk.answer(json.loads(line))
        desk.release_cached_memory()  # before it answers: then it is another's turn
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return desk.over


def wait_for_child(child: int) -> None:
    """Wait for a child, and end as it ended unless it was to be replaced."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        os.kill(os.getpid(), -code)
    if code != EXIT_RENEW:
        sys.exit(code)


def main() -> None:
    """Serve until standard input closes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the sitting's to answer: it ends its workers itself
    with answer_stream() as answers:
        while hasattr(os, "fork") and (child := os.fork()):
            wait_for_child(child)
        if serve(answers):
            answers.close()
            os._exit(EXIT_RENEW)


if __name__ == "__main__":
    main()
