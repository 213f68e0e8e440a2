"""Serve measurements of one architecture: `python -m bench.performance.worker FILE_DESCRIPTOR`.

A request through the pipe is the name of a method of `WorkerServer` with its arguments, its answer
the result, RequestUnsupported where the architecture does not support it, or RequestFailed. The
started process only imports, which takes two seconds; its forked child works. After "renew" another
child, with memory of its own, takes over.
"""

import gc
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from architectures.interface import Unsupported
from bench.config import Run, UserError, run_from_dict
from bench.model import PLUGIN_ERRORS, describe_error
from bench.performance import energy, memory_profile
from bench.performance.hardware_peak import HardwarePeak
from bench.performance.process_memory import reset_peak_bytes
from bench.performance.worker_client import RequestFailed, RequestUnsupported
from bench.performance.workload import Workload
from bench.system.host import environment_record
from bench.system.memory import is_out_of_memory

EXIT_RENEW = 77  # exit code of a child that a fresh one replaces
BASE = (0, 0)  # the key of the workload at the run's own context and batch


def error_reason(error: BaseException) -> str:
    """Return an error as one line."""
    line = " ".join(str(error).split())[:300]
    if is_out_of_memory(error):
        return f"out of memory: {line}"
    return line if isinstance(error, UserError) else describe_error(error)


class WorkerServer:
    """Answer requests about one architecture."""

    def __init__(self) -> None:
        self.run = Run()
        self.vocabulary = 0
        # at BASE, and at one other key at most
        self.workloads: dict[tuple[int, int], Workload] = {}
        self.peak_before: int | str = "not available: this process was not started for it"
        self.hardware: HardwarePeak | None = None
        self.renewing = False

    def workload(self, at: Mapping[str, float]) -> Workload:
        """Return the architecture as configured, or rebuilt for another context or batch."""
        length = int(at.get("length", 0))
        tokens = self.run.train.batch * self.run.size.context
        key = (length, max(1, tokens // length)) if length else (0, int(at.get("batch", 0)))
        if key not in self.workloads:
            for other in [other for other in self.workloads if other != BASE]:
                del self.workloads[other]
            gc.collect()
            self.workloads[key] = Workload(self.run, self.vocabulary, *key)
        return self.workloads[key]

    def prepare(self, run: Any, vocabulary: int, tracks_process: bool = False) -> dict[str, Any]:
        """Build the model and take its first training step; return facts and environment."""
        self.run, self.vocabulary, self.workloads = run_from_dict(run), vocabulary, {}
        torch.set_num_threads(self.run.threads)
        torch.set_flush_denormal(True)  # denormal numbers would be a hundred times as slow
        torch.manual_seed(0)
        if tracks_process:
            self.peak_before = reset_peak_bytes()
        workload = self.workload({})
        first = workload.first_step()
        affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        threads = torch.get_num_threads()
        process = {"torch_threads": threads, "affinity": affinity, "pid": os.getpid()}
        return {
            "facts": workload.facts() | {"first_step_seconds": first.wall},
            "environment": environment_record(self.run.threads) | process,
        }

    def renew(self) -> None:
        """Let a fresh child take over after this answer."""
        self.renewing = True

    def facts(self, at: Mapping[str, float]) -> dict[str, Any]:
        """Return the sizes and costs of a workload."""
        return self.workload(at).facts()

    def window(self, name: str, at: Mapping[str, float]) -> Any:
        """Measure one window of the workload, or of the hardware itself."""
        if name in ("product", "copy"):
            base = self.workload({})
            self.hardware = self.hardware or HardwarePeak(base.device, base.settings.precision)
            window = getattr(self.hardware, name)()
        elif "batch" in at and name != "train":  # prefill and decode take any batch
            window = getattr(self.workload({}), name)(int(at["batch"]))
        else:
            window = getattr(self.workload(at), name)()
        return asdict(window) if is_dataclass(window) else window  # type: ignore[arg-type]

    def energy(self) -> dict[str, Any]:
        """Return the joules and tokens of some seconds of training."""
        workload = self.workload({})
        counter = energy.find_counter(workload.device.type, workload.device.index or 0)
        if isinstance(counter, str):
            raise Unsupported(counter)
        tokens, seconds = 0.0, 0.0
        workload.train()  # warms up
        reading = counter.read()
        while seconds < self.run.measure.energy_seconds:
            window = workload.train()
            tokens += window.tokens + workload.step_tokens  # one step a window is not timed
            seconds += window.wall
        joules = counter.joules_since(reading)
        return {"joules": joules, "tokens": tokens, "method": counter.method}

    def memory(self) -> dict[str, Any]:
        """Return the memory metrics of the workload."""
        with torch.compiler.set_stance("force_eager"):  # a compiled step hides its tensors
            return memory_profile.profile_workload(self.workload({}), self.peak_before)

    def answer(self, request: str, arguments: Mapping[str, Any]) -> Any:
        """Return the result of a request, or an error for the client to raise."""
        try:
            return getattr(self, request)(**arguments)
        except Unsupported as error:
            return RequestUnsupported(str(error))
        except PLUGIN_ERRORS as error:
            return RequestFailed(error_reason(error))

    def release_cached_memory(self) -> None:
        """Return what the CUDA allocator caches: all entries of a session share the GPU."""
        if self.run.train.device != "cpu" and torch.cuda.is_initialized():
            if self.hardware is not None:
                self.hardware.release()
            gc.collect()
            torch.cuda.empty_cache()


def serve(connection: Connection) -> bool:
    """Answer until the pipe closes or a fresh process is requested; return whether it was."""
    server = WorkerServer()
    connection.send("ready")
    while not server.renewing:
        try:
            answer = server.answer(*connection.recv())
        except EOFError:
            break
        server.release_cached_memory()  # before the answer: then another entry takes its turn
        connection.send(answer)
    return server.renewing


def main() -> None:
    """Serve in a child until the pipe closes and exit as it did; replace one that asks for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the session ends its workers itself
    connection = Connection(int(sys.argv[1]))
    while child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0:
            os.kill(os.getpid(), -code)
        if code != EXIT_RENEW:
            sys.exit(code)
    if serve(connection):
        os._exit(EXIT_RENEW)


if __name__ == "__main__":
    main()
