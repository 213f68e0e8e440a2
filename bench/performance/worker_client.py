"""Start a worker process, send it requests with a time limit, and end it."""

import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from typing import Any

from bench.system.host import worker_environment

MODULE = "bench.performance.worker"
START_SECONDS = 300.0  # for the imports, which take long on a busy machine


class WorkerDied(Exception):
    """The worker process ended; the message says why."""


class RequestUnsupported(Exception):
    """The architecture does not support the request; the message is the reason."""


class RequestFailed(Exception):
    """The request failed in the worker; the message is the reason."""


class WorkerClient:
    """Run a worker process and exchange requests and answers with it through a pipe."""

    def __init__(self, threads: int, limit_seconds: float) -> None:
        self.limit_seconds, self.is_ready = limit_seconds, False
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the worker lives)
        self.connection, worker_end = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(worker_end.fileno())],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output,
            pass_fds=[worker_end.fileno()], env=worker_environment(threads), start_new_session=True,
        )  # fmt: skip
        worker_end.close()

    def ask(self, request: str, **arguments: Any) -> Any:
        """Return the worker's answer.

        Raise RequestUnsupported, RequestFailed, or WorkerDied where it hangs or dies.
        """
        if not self.is_ready:
            self._receive(START_SECONDS)
        try:
            self.connection.send((request, arguments))
        except OSError:
            raise WorkerDied(self._describe_death()) from None
        self.is_ready = request != "renew"  # a fresh child says when it is ready
        answer = self._receive(self.limit_seconds)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _receive(self, seconds: float) -> Any:
        try:
            if self.connection.poll(seconds):
                return self.connection.recv()
        except (EOFError, OSError):
            raise WorkerDied(self._describe_death()) from None
        self.end()
        raise WorkerDied(
            f"did not answer within {seconds:g} s and was ended "
            "(measure.limit_seconds sets the limit)"
        )

    def _describe_death(self) -> str:
        """Return the exit code or signal, and the last line of output."""
        code = self.process.wait(timeout=10)
        self.output.seek(0)
        lines = self.output.read().decode("utf-8", "replace").splitlines()
        last = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
        # the kernel sends signal 9 where memory runs out
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        how = (
            f"was killed by signal {-code}{memory}" if code < 0 else f"ended with exit code {code}"
        )
        return f"its process {how}{last}"

    def end(self) -> None:
        """Kill the process group and close the pipe."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()
        self.output.close()
